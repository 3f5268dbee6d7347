"""The error tree.

Every class also derives from the standard exception that it replaces, keeps its message as its only
argument (so that it pickles across worker processes), and says what the driver does about it.
A :class:`UserError` is printed without a traceback and ends the command with exit status 2.
"""


class KdscopeError(Exception):
    """Root of everything that kdscope raises on purpose."""


class UserError(KdscopeError, ValueError):
    """The user must mend something first: exit status 2, never retried."""


class ConfigError(UserError):
    """A study file or an override is wrong; the message lists every mistake with its YAML path."""


class DataError(UserError):
    """A data set is missing, malformed or empty; the message names file and line."""


class ModelError(UserError):
    """A checkpoint cannot be used: no weights, other tokenizer, unsupported head."""


class CacheError(UserError):
    """A teacher cache does not belong to this teacher, data or template, or is damaged."""


class StoreError(UserError):
    """A run folder cannot be used: it holds another study, is locked, or cannot be written."""


class TableError(UserError):
    """A result table lacks a column, or a value in it is impossible."""


class NotEstimableError(UserError):
    """The numbers cannot carry this statistic: too few, constant, or of unequal length."""


class MissingExtraError(UserError, ImportError):
    """A verb needs a library that the base installation does not have."""


class NumericalError(KdscopeError, ArithmeticError):
    """NaN or infinite values in training: the step fails cleanly, not retried."""


class OutOfMemoryError(KdscopeError, MemoryError):
    """Device or host memory ran out: retried with half the micro-batch."""


class RemoteError(KdscopeError, ConnectionError):
    """A server did not answer usefully after retries with backoff."""


_OWN_VERSIONS = {"vllm"}  # extras that ask for versions of torch and transformers of their own


def installing(extra: str) -> str:
    """The command that installs an extra, in the versions that were tested together."""
    if extra in _OWN_VERSIONS:
        return f"pip install -e '.[train,{extra}]'"
    return f"pip install -c constraints.txt -e '.[{extra}]'"


def missing_extra(extra: str, library: str, purpose: str) -> MissingExtraError:
    """The error for a library that an extra provides, with the command that installs it."""
    return MissingExtraError(
        f"{purpose} needs {library}, which is not installed. "
        f"Install it, in the checkout, with: {installing(extra)}"
    )
