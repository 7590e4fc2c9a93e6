"""Quiet: what Hugging Face's libraries print about themselves is not for those who watch a run."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Silence it."""
    warnings.filterwarnings("ignore", module=r"(transformers|peft|huggingface_hub|torch)\b.*")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each try of a hub that is out of reach
    from huggingface_hub.utils import disable_progress_bars
    from transformers.utils import logging as chatter

    disable_progress_bars()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
