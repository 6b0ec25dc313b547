"""Multi-head attention: projections, masks, and the choice between weights shown or fused."""

from __future__ import annotations

import math
from typing import Any

import thalweg
from thalweg.nn import functional as F
from thalweg.nn import init
from thalweg.nn.linear import Linear
from thalweg.nn.module import Module
from thalweg.tensor import Parameter, Tensor
from thalweg.tensor.fresh import new_full


def _additive(mask: Tensor | None, name: str, dtype: Any) -> Tensor | None:
    """A mask as numbers to add to the scores: True becomes minus infinity."""
    if mask is None or mask.is_floating_point():
        return mask
    if mask.dtype != thalweg.bool:
        raise RuntimeError(
            f"{name}: only bool and floating types of mask are supported, got {mask.dtype}"
        )
    return thalweg.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)


def _project(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Tensor | tuple[Tensor, Tensor, Tensor],
    bias: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value projections; shared inputs are projected by one product."""
    if isinstance(weights, tuple):
        biases = (None, None, None) if bias is None else bias.chunk(3)
        parts = zip((query, key, value), weights, biases)
        q, k, v = (F.linear(x, weight, b) for x, weight, b in parts)
        return q, k, v
    if key is value:
        if query is key:
            q, k, v = F.linear(query, weights, bias).chunk(3, dim=-1)
            return q, k, v
        width = weights.shape[1]
        b_q, b_kv = (None, None) if bias is None else (bias[:width], bias[width:])
        q = F.linear(query, weights[:width], b_q)
        k, v = F.linear(key, weights[width:], b_kv).chunk(2, dim=-1)
        return q, k, v
    return _project(query, key, value, tuple(weights.chunk(3)), bias)


def _check_inputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
) -> bool:
    """Whether the inputs have a batch dimension; ``AssertionError`` where they disagree."""
    dims = query.dim()
    if dims not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {dims}-D query tensor"
        )
    if key.dim() != dims or value.dim() != dims:
        raise AssertionError(
            f"For {'batched' if dims == 3 else 'unbatched'} `query`, expected `key` and `value` "
            f"to be {dims}-D but found {key.dim()}-D and {value.dim()}-D tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != dims - 1:
        raise AssertionError(
            f"expected `key_padding_mask` to be `None` or {dims - 1}-D but found "
            f"{key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None and attn_mask.dim() not in (2, 3):
        raise AssertionError(
            f"expected `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.dim()}-D "
            "tensor instead"
        )
    return dims == 3


@F._expose
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of ``num_heads`` heads over (L, N, E), (S, N, E), (S, N, E) (Vaswani et al. 2017).

    ``attn_mask`` is (L, S) or (N · heads, L, S), ``key_padding_mask`` (N, S); True hides. Returns
    the output (L, N, E) and, with ``need_weights``, the weights (N, L, S) or (N, heads, L, S).
    """
    batched = _check_inputs(query, key, value, key_padding_mask, attn_mask)
    if not batched:
        shared_qk, shared_kv = query is key, key is value
        query = query.unsqueeze(1)
        key = query if shared_qk else key.unsqueeze(1)
        value = key if shared_kv else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    length, batch, width = query.shape
    if width != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}"
        )
    head = width // num_heads
    if head * num_heads != width:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    if key.shape[:2] != value.shape[:2]:
        raise AssertionError(
            f"key's sequence and batch dims {tuple(key.shape[:2])} do not match value's "
            f"{tuple(value.shape[:2])}"
        )
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. Use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    # The hint alone is enough for the fused form, unless something else must be added to the mask.
    causal = is_causal and key_padding_mask is None and not need_weights
    mask = None if causal else _additive(attn_mask, "attn_mask", query.dtype)
    hidden = _additive(key_padding_mask, "key_padding_mask", query.dtype)

    weights: Any = in_proj_weight
    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
    q, k, v = _project(query, key, value, weights, in_proj_bias)

    extra = 0  # keys that no mask given by the caller knows of
    if bias_k is not None and bias_v is not None:
        k = thalweg.cat([k, bias_k.expand(1, batch, width)])
        v = thalweg.cat([v, bias_v.expand(1, batch, width)])
        extra += 1

    def heads(x: Tensor) -> Tensor:
        """(T, N, E) to (N, heads, T, head)."""
        return x.reshape(x.shape[0], batch, num_heads, head).permute(1, 2, 0, 3)

    q = heads(q)
    k = heads(k) if static_k is None else static_k.reshape(batch, num_heads, -1, head)
    v = heads(v) if static_v is None else static_v.reshape(batch, num_heads, -1, head)
    if add_zero_attn:
        zeros = thalweg.zeros((batch, num_heads, 1, head), dtype=k.dtype, device=k.device)
        k = thalweg.cat([k, zeros], dim=2)
        v = thalweg.cat([v, zeros], dim=2)
        extra += 1
    sources = k.shape[2]

    if mask is not None:
        expected = (length, sources - extra)
        if mask.dim() == 3:
            expected = (batch * num_heads, *expected)  # type: ignore[assignment]
        if tuple(mask.shape) != expected:
            raise RuntimeError(
                f"The shape of the {mask.dim()}D attn_mask is {tuple(mask.shape)}, but should be "
                f"{expected}."
            )
        mask = F.pad(mask, (0, extra)) if extra else mask
        if mask.dim() == 3:
            mask = mask.reshape(batch, num_heads, length, sources)
    if hidden is not None:
        if tuple(hidden.shape) != (batch, sources - extra):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(batch, sources - extra)}, but got "
                f"{tuple(hidden.shape)}"
            )
        hidden = F.pad(hidden, (0, extra)) if extra else hidden
        hidden = hidden.reshape(batch, 1, 1, sources)
        mask = hidden if mask is None else mask + hidden

    dropout = dropout_p if training else 0.0
    shown: Tensor | None = None
    if need_weights:
        scores = (q * math.sqrt(1.0 / head)) @ k.transpose(-2, -1)
        scores = scores if mask is None else scores + mask
        shown = F.softmax(scores, dim=-1)
        if dropout > 0.0:
            shown = F.dropout(shown, p=dropout)
        attended = shown @ v
    else:
        attended = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
    output = attended.permute(2, 0, 1, 3).reshape(length, batch, width)
    output = F.linear(output, out_proj_weight, out_proj_bias)
    if shown is not None and average_attn_weights:
        shown = shown.mean(dim=1)
    if not batched:
        output = output.squeeze(1)
        shown = None if shown is None else shown.squeeze(0)
    return output, shown


class NonDynamicallyQuantizableLinear(Linear):
    """Linear under the name that printed models and saved state know it by."""


class MultiheadAttention(Module):
    """Attention with ``num_heads`` heads of ``embed_dim / num_heads`` each (Vaswani et al. 2017).

    Inputs (L, N, E), or (N, L, E) with ``batch_first``, or (L, E). ``kdim`` and ``vdim`` are the
    widths of key and value where they differ. Returns (output, weights or ``None``).
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, got "
                f"embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        super().__init__()
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.embed_dim = embed_dim
        self.kdim = kdim if kdim is not None else embed_dim
        self.vdim = vdim if vdim is not None else embed_dim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        together = (3 * embed_dim, embed_dim) if self._qkv_same_embed_dim else None
        widths = {"q": embed_dim, "k": self.kdim, "v": self.vdim}
        for letter, width in widths.items():
            apart = None if together is not None else (embed_dim, width)
            self._add(f"{letter}_proj_weight", apart, made)
        self._add("in_proj_weight", together, made)
        self._add("in_proj_bias", (3 * embed_dim,) if bias else None, made)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **made)
        self._add("bias_k", (1, 1, embed_dim) if add_bias_kv else None, made)
        self._add("bias_v", (1, 1, embed_dim) if add_bias_kv else None, made)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _add(self, name: str, shape: tuple[int, ...] | None, made: dict[str, Any]) -> None:
        value = None if shape is None else Parameter(new_full(shape, 0, **made))
        self.register_parameter(name, value)

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = getattr(self, name)
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        swap = self.batch_first and query.dim() == 3
        if swap:
            # Shared inputs stay the same object, so that they are projected together.
            shared_qk, shared_kv = query is key, key is value
            query = query.transpose(0, 1)
            key = query if shared_qk else key.transpose(0, 1)
            value = key if shared_kv else value.transpose(0, 1)
        output, weights = multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (output.transpose(0, 1) if swap else output), weights
