"""Judge servers to test against: TGI's protocol over a script, a function, or a real llama.cpp; and what real servers
answered, again."""

from tests.facade.backends import FunctionBackend, Generated, GenerationFailed, InvalidInput, Question, Token
from tests.facade.faults import Faults, log_normal_latency
from tests.facade.llama import LlamaBackend
from tests.facade.recordings import Recording, Replay
from tests.facade.scripted import ScriptedBackend
from tests.facade.server import Facade

__all__ = [
    "Facade",
    "Faults",
    "FunctionBackend",
    "Generated",
    "GenerationFailed",
    "InvalidInput",
    "LlamaBackend",
    "Question",
    "Recording",
    "Replay",
    "ScriptedBackend",
    "Token",
    "log_normal_latency",
]
