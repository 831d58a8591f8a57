"""The command that prints versions and the machine: env."""

from __future__ import annotations


def env() -> None:
    """Print versions, machine and places, for a report of a fault."""
    import os
    import platform

    from backends.paths import cache_directory
    from text2sql.config.files import SHIPPED
    from text2sql.console import console
    from text2sql.runs.environment import describe_source, package_versions

    for name, version in package_versions().items():
        console.print(f"{name:<14} {version or 'not installed'}")
    console.print(f"{'commit':<14} {describe_source()}")
    console.print(f"{'python':<14} {platform.python_version()}")
    console.print(f"{'platform':<14} {platform.platform()}, {os.cpu_count()} cores")
    console.print(f"{'cache':<14} {cache_directory()}")
    console.print(f"{'configurations':<14} {SHIPPED}")
    variables = sorted(name for name in os.environ if name.startswith(("TEXT2SQL_", "TINKER_", "HF_")))
    # Names only, as values may be API keys.
    console.print(f"{'set':<14} {', '.join(variables) or 'none of TEXT2SQL_*, TINKER_*, HF_*'}")
    try:
        import torch
    except ImportError:
        return
    for index in range(torch.cuda.device_count()):
        console.print(f"{'gpu':<14} {torch.cuda.get_device_name(index)}")
