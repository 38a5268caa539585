"""A plugin for vLLM: the experts of an exported Grok compute GELU, as they were trained.

vLLM's Transformers backend gives SiLU to the experts of every model without a word (0.32). With
this package installed beside it, vLLM finds this through the entry point ``vllm.general_plugins``.
"""

from __future__ import annotations

from typing import Any

ACTIVATIONS = {
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "silu": "silu",
}
"""Names of transformers and those of vLLM's fused experts."""


def register() -> None:
    """Let fused experts of our exports take the activation of their ``config.json``.

    Raises:
        ValueError: while a model is loaded, for an activation that vLLM's experts do not have.
    """
    from vllm.config import get_current_vllm_config
    from vllm.model_executor.models.transformers import moe

    make = moe.FusedMoEFactory
    if getattr(make, "reads_activation", False):  # vLLM calls plugins in every process it starts
        return

    def make_experts(*args: Any, **kwargs: Any) -> Any:
        config = get_current_vllm_config().model_config.hf_text_config
        if "Grok1ForCausalLM" in (config.architectures or ()):
            kwargs["activation"] = activation(config.hidden_act)
        return make(*args, **kwargs)

    make_experts.reads_activation = True  # type: ignore[attr-defined]
    moe.FusedMoEFactory = make_experts


def activation(name: str) -> str:
    """vLLM's name of an activation.

    Raises:
        ValueError: its experts do not have it.
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"hidden_act: vLLM's experts have no {name!r}; known: {known}")
    return ACTIVATIONS[name]
