"""The training loop."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import get_linear_schedule_with_warmup

from .base_models import BaseModel
from .batches import Batch, Item, batches
from .network import FramingNetwork
from .recipe import Recipe

if TYPE_CHECKING:
    from torch.optim import Optimizer


def fit(items: Sequence[Item], base: BaseModel, recipe: Recipe, *, labels: int, quiet: bool = False) -> FramingNetwork:
    """A network trained on `items`; the recipe's seed decides all that is left to chance."""
    torch.manual_seed(recipe.seed)
    shuffle = random.Random(recipe.seed)
    network = FramingNetwork(base.encoder(), labels=labels, dropout=recipe.dropout)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).train()
    steps = recipe.epochs * -(-len(items) // recipe.batch_paragraphs)
    optimizer = _optimizer(network, recipe)
    schedule = get_linear_schedule_with_warmup(optimizer, round(recipe.warmup * steps), steps)
    low_precision = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 there is no public question
    with tqdm(total=steps, desc="training", unit="batch", disable=quiet) as progress:
        for _ in range(recipe.epochs):
            for batch in batches(items, recipe.batch_paragraphs, shuffle=shuffle):
                with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
                    loss = batch_loss(network, batch.to(device), recipe)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
                progress.update()
                progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return network.to("cpu").eval()


def batch_loss(network: FramingNetwork, batch: Batch, recipe: Recipe) -> Tensor:
    """Binary cross-entropy to the labels and, where there is a teacher, to its probabilities for sentences and tokens.

    Of every sentence the labels count, of a label that is there also its voice. Learning from a larger network's
    probabilities beside the labels is Hinton, Vinyals and Dean's (2015, "Distilling the Knowledge in a Neural Network").
    Its tokens say, beyond that, which words of the sentence decide.
    """
    outputs = network(batch.input_ids, batch.attention_mask)
    logits = network.pool(outputs, batch.sentence_of, batch.targets.shape[1])
    loss = _loss(logits, batch.targets, recipe.voice_weight)
    if bool((batch.taught >= 0).any()):
        taught_loss = _loss(logits, batch.taught, recipe.voice_weight)
        loss = (1 - recipe.distillation) * loss + recipe.distillation * taught_loss
    return loss + recipe.token_distillation * _token_loss(outputs[..., : network.labels], batch)


def _loss(logits: Tensor, targets: Tensor, voice_weight: float) -> Tensor:
    known = (targets >= 0).to(logits.dtype)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets.clamp(min=0), weight=known, reduction="none")
    labels = targets.shape[-1] // 2
    label_loss = loss[..., :labels].sum() / known[..., :labels].sum().clamp(min=1) * labels
    voice_loss = loss[..., labels:].sum() / known[..., labels:].sum().clamp(min=1)
    return label_loss + voice_weight * voice_loss


def _token_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Of tokens, weighted as the teacher weighs them; on the scale of a sentence's label loss, 0 without a teacher."""
    loss = nn.functional.binary_cross_entropy_with_logits(
        logits, batch.taught_tokens, weight=batch.token_weights, reduction="sum"
    )
    return loss / batch.token_weights.sum().clamp(min=1) * logits.shape[-1]


def _optimizer(network: FramingNetwork, recipe: Recipe) -> "Optimizer":
    """AdamW; layers nearer to the input learn less (Howard and Ruder 2018, "Universal Language Model Fine-tuning")."""
    depth = network.encoder.config.num_hidden_layers
    groups = []
    for name, parameter in network.named_parameters():
        rate = recipe.head_learning_rate
        if name.startswith("encoder."):
            rate = recipe.learning_rate * recipe.layer_decay ** _distance_from_top(name, depth)
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, fused=True)  # one pass a parameter: on two cores a sixth of the time of the default


def _distance_from_top(name: str, depth: int) -> int:
    parts = name.split(".")
    if "layer" in parts:
        return depth - 1 - int(parts[parts.index("layer") + 1])
    return depth if "embeddings" in parts else 0
