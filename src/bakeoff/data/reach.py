"""Reach: whether the Hugging Face hub answers at all, asked once and briefly, so that no network is told in seconds.

The hub's libraries ask an address that does not answer again and again, for half a minute and more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from bakeoff.errors import InputError

UNREACHED = ("ConnectError", "ConnectTimeout", "ProxyError")  # httpx's; a hub that is slow or broken is in reach


@cache
def silence() -> str:
    """Why nothing answers at the hub's address; empty where something does, or where it is not to be asked.

    Waits as long as the library's first try does (HF_HUB_ETAG_TIMEOUT, 10 seconds), and through its own client.
    """
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import (
        HTTPError,  # httpx's or httpx2's, by the hub's version  # pyright: ignore[reportPrivateImportUsage]
        OfflineModeIsEnabled,
    )

    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except OfflineModeIsEnabled:  # HF_HUB_OFFLINE
        return ""
    except HTTPError as error:
        told = " ".join(str(error).split()) or type(error).__name__
        return f"{constants.ENDPOINT} does not answer: {told}" if type(error).__name__ in UNREACHED else ""
    return ""


@contextmanager
def known() -> Iterator[str]:
    """While open, the hub's libraries read their caches alone where the hub does not answer; why it does not."""
    reason = silence()
    names = ("huggingface_hub.constants", "datasets.config")
    libraries: list[Any] = [sys.modules[name] for name in names if name in sys.modules]
    before = [library.HF_HUB_OFFLINE for library in libraries]
    try:
        for library in libraries if reason else ():
            library.HF_HUB_OFFLINE = True
        yield reason
    except InputError:  # refused for want of it: the next time it is asked anew
        silence.cache_clear()
        raise
    finally:
        for library, was in zip(libraries, before, strict=True):
            library.HF_HUB_OFFLINE = was
