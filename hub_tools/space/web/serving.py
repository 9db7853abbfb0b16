"""Starting the app, on this machine or as a Space, and ending it without losing an answer."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import needs
from hf_relabel.hub_tools.space.settings import SpaceSettings, settings_of_space
from hf_relabel.hub_tools.space.web.guard import LOCAL_NAMES, Guard

HOST = "127.0.0.1"
"""Never another on this machine: whoever reaches the server answers in the name of its token."""
_FRAMES = ("https://huggingface.co", "https://*.huggingface.co")
"""Pages that show a Space in a frame."""
_SAMPLE_DELAY = 5.0
"""Seconds, unless somebody asks for it earlier: drawing the sample reads all verdicts."""
_ENDS = (signal.SIGINT, signal.SIGTERM)
_LARGEST_UPLOAD = 1
"""Bytes. gradio takes uploads of anybody, and no page here has use for one."""


def serve(
    settings: SpaceSettings,
    *,
    port: int | None = None,
    open_browser: bool = False,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve the app until Ctrl-C or SIGTERM, then send what is not on the Hub yet.

    Args:
        port: None for one that is free.
        open_browser: show it in the user's browser.
        started: called with the address once it answers.

    Raises:
        ConfigError: gradio is not installed, or the port is taken.
        ReleaseError, BuildError: the release cannot be opened.
    """
    with _running_app(settings, port=port, open_browser=open_browser) as (url, ends):
        if started is not None:
            started(url)
        _wait(ends)


def main() -> None:
    """Entry point of a Space: its settings are variables, its port is gradio's."""
    with _running_app(settings_of_space()) as (url, ends):
        print(f"Serving on {url}", file=sys.stderr)  # noqa: T201 - the log of the Space
        _wait(ends)


def _wait(ends: SimpleQueue[int]) -> None:
    """Until Ctrl-C or SIGTERM. One that comes just before a wait without a timeout is heard only with the next."""
    while True:
        with suppress(Empty):
            ends.get(timeout=1)
            return


@contextmanager
def _running_app(
    settings: SpaceSettings, *, port: int | None = None, open_browser: bool = False
) -> Iterator[tuple[str, SimpleQueue[int]]]:
    """The app, serving in threads of its own. Gives its address, and where Ctrl-C and SIGTERM are put."""
    with needs("space", "The Space"):
        from hf_relabel.hub_tools.space.web.app import build
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from hf_relabel.hub_tools.space.running import Running

    disable_progress_bars()  # of the commits of answers, which nobody waits for
    running, ending = Running(settings), threading.Event()
    try:
        if not settings.is_space:
            running.browser()  # so that a name with a mistake is told where it was typed
        demo = build(running)
        # Before the port answers: whoever sees it answer may tell the server to end.
        with _ends() as ends:
            url = _launched(demo, settings, port, open_browser)
            threading.Thread(target=_open, args=(running, ending), name="opening", daemon=True).start()
            yield url, ends
            ending.set()
            demo.close(verbose=False)
    finally:
        ending.set()
        running.close()


def _open(running: Any, ending: threading.Event) -> None:
    """Open the release before anybody asks for it, and a little later, when the first page has been shown, the
    adjudication, which sends what an earlier run could not. What goes wrong here is told on the pages."""
    from hf_relabel.builders.errors import RelabelError

    try:
        running.browser()
        if not ending.wait(_SAMPLE_DELAY):
            running.adjudication()
    except RelabelError:
        return


def _launched(demo: Any, settings: SpaceSettings, port: int | None, open_browser: bool) -> str:
    from starlette.middleware import Middleware

    from hf_relabel.hub_tools.space.web.app import theme
    from hf_relabel.hub_tools.space.web.views import static_text

    if settings.is_space:
        guard = Middleware(Guard, names=None, frames=_FRAMES, own=settings.hosts)
    else:
        guard = Middleware(Guard, names=LOCAL_NAMES)
    try:
        _, url, _ = demo.launch(
            server_name=None if settings.is_space else HOST,
            server_port=port,
            inbrowser=open_browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            show_error=False,
            footer_links=[],
            run_history=False,
            max_file_size=_LARGEST_UPLOAD,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=theme(),
            # Not as `css`, whose rules gradio rewrites.
            head=f"<style>{static_text('space.css')}</style><script>{static_text('space.js')}</script>",
            app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None, "openapi_url": None},
        )
    except OSError as error:
        raise ConfigError(f"The port {port or 'that gradio wants'} cannot be used: {error}") from error
    return str(url).rstrip("/")


@contextmanager
def _ends() -> Iterator[SimpleQueue[int]]:
    """Ctrl-C and SIGTERM as numbers in a queue. Unlike an event, it may be written to while it is being waited for."""
    ends: SimpleQueue[int] = SimpleQueue()
    before = {number: signal.signal(number, lambda number, _: ends.put(number)) for number in _ENDS}
    try:
        yield ends
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
