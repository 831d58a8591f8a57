"""The model that a run distils: another run's, or one by its name, of the same tokenizer."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from backends.checkpoint_paths import SCHEME
from backends.interface import SamplingClient
from backends.tokenizer import Tokenizer, vocabulary
from text2sql.config import expand_user
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.session import RunSession, open_service
from text2sql.runs.trained_model import finished_checkpoint

KEY = "rl.distill.teacher"


class Teacher:
    """A run's teacher, opened when it is first used; a context manager, which closes what was opened for it.

    Args:
        session: The run that learns.
    """

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._opened = ExitStack()
        self._sampler: SamplingClient | None = None

    def __enter__(self) -> Teacher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def sampler(self) -> SamplingClient:
        """The teacher, to compute log-probabilities with.

        Raises:
            UserError: There is no such run, it has not finished its training, its tokens are not those of this run's
                model, or what it costs is not known.
        """
        if self._sampler is None:
            session = self._session
            teacher = self._open(str(session.config.rl.distill.teacher))
            base = session.service.create_sampling_client(base_model=session.config.trained_model).result()
            check_vocabularies(base.get_tokenizer(), teacher.get_tokenizer())
            self._sampler = teacher
        return self._sampler

    def _open(self, name: str) -> SamplingClient:
        if self._session.budget.limit is not None:
            raise UserError(
                f"{KEY}: tinker.max_cost cannot be kept, because what the teacher costs is not counted. Leave "
                "tinker.max_cost out."
            )
        run = RunDirectory(expand_user(name))
        if run.path.is_dir() and run.file("config.yaml").is_file():
            return self._open_run(run)
        if name.startswith(SCHEME):
            return self._session.service.create_sampling_client(model_path=name).result()
        return self._session.service.create_sampling_client(base_model=name).result()

    def _open_run(self, run: RunDirectory) -> SamplingClient:
        config = load_run_config(run)
        checkpoint = finished_checkpoint(run, config, KEY)
        if config.prompt.template != self._session.config.prompt.template:
            console.print(
                f"{KEY}: {run.path} was trained with another prompt.template than this run has: the teacher reads "
                "prompts that it does not know.",
                markup=False,
            )
        # Its own backend, with its own base model and options; the weights are in its own directory.
        service = self._opened.enter_context(open_service(config, run.file("checkpoints")))
        return service.create_sampling_client(model_path=checkpoint.sampler_path).result()


def check_vocabularies(student: Tokenizer, teacher: Tokenizer) -> None:
    """Refuse a teacher to which the same token ids are other words.

    Raises:
        UserError: The vocabularies differ; the message has the first difference.
    """
    student_ids, teacher_ids = vocabulary(student), vocabulary(teacher)
    if student_ids == teacher_ids:
        return
    words = sorted({word for word, _ in student_ids.items() ^ teacher_ids.items()})
    raise UserError(
        f"{KEY}: the teacher's tokenizer is another than that of base_model ({len(teacher_ids):,} and "
        f"{len(student_ids):,} tokens; {len(words):,} are not the same, for example {words[0]!r}), and a token's "
        "log-probability can be compared with that of the same token alone. Give a teacher of the same family."
    )
