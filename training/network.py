"""The network: an encoder, and a linear head on each of its tokens.

A sentence's logit for a label is the average of its tokens' logits, weighted by a learned attention of that label
(as in Yang et al. 2016, "Hierarchical Attention Networks for Document Classification"), since real sentences carry a
framing in a clause. The sentences of a paragraph are read together, so each is judged in its context at the cost of one pass.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Far beyond what training reaches; keeps exp() of the attention finite in every arithmetic.
_MAX_ATTENTION = 8.0


class FramingNetwork(nn.Module):
    """Per token: a logit per label, a logit per label's voice (reported against own), an attention per label."""

    def __init__(self, encoder: "PreTrainedModel", *, labels: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.labels = labels
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, 3 * labels)
        nn.init.zeros_(self.head.weight[2 * labels :])  # begin with a plain mean
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token outputs `(batch, tokens, 3 * labels)`: what the exported model computes."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        outputs = self.head(self.dropout(hidden)).float()
        values, attention = outputs.split([2 * self.labels, self.labels], dim=-1)
        return torch.cat([values, attention.clamp(-_MAX_ATTENTION, _MAX_ATTENTION)], dim=-1)

    def pool(self, outputs: Tensor, sentence_of: Tensor, sentences: int) -> Tensor:
        """Sentence logits `(batch, sentences, 2 * labels)` of token outputs.

        `sentence_of` `(batch, tokens)` is -1 outside sentences.
        """
        values, attention = outputs[..., : 2 * self.labels], outputs[..., 2 * self.labels :]
        weights = torch.exp(torch.cat([attention, attention], dim=-1))  # (batch, tokens, 2 * labels)
        member = nn.functional.one_hot(sentence_of + 1, sentences + 1)[..., 1:].to(values.dtype)  # (batch, tokens, s)
        sums = torch.einsum("bts,btk->bsk", member, weights * values)
        totals = torch.einsum("bts,btk->bsk", member, weights)
        return sums / totals.clamp(min=1e-6)
