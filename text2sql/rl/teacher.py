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
from text2sql.training.early_stopping import choose_checkpoint

KEY = "rl.distill.teacher"


class Teacher:
    """A run's teacher, opened when it is first asked; a context, which closes what was opened for it.

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
        """The teacher.

        Raises:
            UserError: There is no such run, it has not finished its training, its tokens are not those of this run's
                model, or what it costs is not known.
        """
        if self._sampler is None:
            sampler = self._open(str(self._session.config.rl.distill.teacher))
            own = self._session.service.create_sampling_client(base_model=self._session.config.trained_model).result()
            check_vocabularies(own.get_tokenizer(), sampler.get_tokenizer())
            self._sampler = sampler
        return self._sampler

    def _open(self, given: str) -> SamplingClient:
        if self._session.budget.limit is not None:
            raise UserError(
                f"{KEY}: tinker.max_cost cannot be kept, because what the teacher costs is not counted. Leave "
                "tinker.max_cost out."
            )
        run = RunDirectory(expand_user(given))
        if run.path.is_dir() and run.file("config.yaml").is_file():
            return self._of_run(run)
        if given.startswith(SCHEME):
            return self._session.service.create_sampling_client(model_path=given).result()
        return self._session.service.create_sampling_client(base_model=given).result()

    def _of_run(self, run: RunDirectory) -> SamplingClient:
        theirs, checkpoints, summary = load_run_config(run), run.checkpoints(), run.summary()
        if not (summary and summary.training and checkpoints):
            raise UserError(f"{KEY}: the training in {run.path} has not finished; run its command again first.")
        if theirs.prompt.template != self._session.config.prompt.template:
            console.print(
                f"{KEY}: {run.path} was trained with another prompt.template than this run has: the teacher reads "
                "prompts that it does not know.",
                markup=False,
            )
        # Its own backend, with its own base model and options; the weights are in its own directory.
        service = self._opened.enter_context(open_service(theirs, run.file("checkpoints")))
        chosen = choose_checkpoint(checkpoints, theirs.training)
        return service.create_sampling_client(model_path=chosen.sampler_path).result()


def check_vocabularies(own: Tokenizer, theirs: Tokenizer) -> None:
    """Refuse a teacher to which the same token ids are other words.

    Raises:
        UserError: The vocabularies differ; the message has the first difference.
    """
    mine, other = vocabulary(own), vocabulary(theirs)
    if mine == other:
        return
    words = sorted({word for word, _ in mine.items() ^ other.items()})
    raise UserError(
        f"{KEY}: the teacher's tokenizer is another than that of base_model ({len(other):,} and {len(mine):,} tokens; "
        f"{len(words):,} are not the same, for example {words[0]!r}), and a token's log-probability can be compared "
        "with that of the same token alone. Give a teacher of the same family."
    )
