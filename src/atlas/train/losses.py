"""The components of the loss, each a formula from its paper, summed with the weights that the rows carry.

Axes in names: N learnt tokens, V vocabulary, K outcomes that a teacher told.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.train.rows import Row, Target, at_learnt, learnt_logits, pad


@dataclass(frozen=True, slots=True)
class LossRules:
    """Constants of the components."""

    clip_low: float = 0.2
    """The ratio's lower distance from 1."""
    clip_high: float = 0.2
    """The upper one."""
    per_sequence: bool = False
    """Whether the ratio is one per sequence (GSPO) instead of one per token."""
    beta: float = 0.5
    """Of the generalised Jensen-Shannon divergence."""
    temperature: float = 1.0
    """Of both distributions of a distillation."""


def loss_of(
    network: torch.nn.Module, rows: Sequence[Row], rules: LossRules, device: torch.device
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum over the rows' learnt tokens, and its parts as numbers."""
    logits_NV = learnt_logits(network, pad(rows, device))
    logp_NV = logits_NV.log_softmax(-1)
    ids_N = torch.cat([torch.from_numpy(row.ids[row.learnt]) for row in rows]).to(device)
    logp_N = logp_NV.gather(-1, ids_N[:, None])[:, 0]
    total = logits_NV.new_zeros(())
    parts: dict[str, float] = {}

    def add(name: str, value: Tensor) -> None:
        nonlocal total
        total = total + value
        parts[name] = float(value.detach())

    imitate, advantage = at_learnt(rows, "imitate", device), at_learnt(rows, "advantage", device)
    near, distil = at_learnt(rows, "keep_near", device), at_learnt(rows, "distil", device)
    if imitate is not None:
        add("imitate", -(imitate * logp_N).sum())
    if advantage is not None:
        surrogate, clipped = _surrogate(rows, logp_N, advantage, rules, device)
        add("policy", -surrogate.sum())
        parts["clipped"] = clipped
    if near is not None:
        reference = at_learnt(rows, "reference", device)
        assert reference is not None
        add("kl_loss", (near * divergence_estimate(logp_N, reference)).sum())
    if distil is not None:
        add("distil", (distil * _distilled(rows, logits_NV, distil, rules)).sum())
    return total, parts


def _surrogate(
    rows: Sequence[Row], logp_N: Tensor, weight_N: Tensor, rules: LossRules, device: torch.device
) -> tuple[Tensor, float]:
    """min(r A, clip(r) A) for each token, and the share that was clipped.

    Source: Schulman et al., arXiv 1707.06347, equation 7; one ratio per sequence, arXiv 2507.18071, equations 7 and 14.
    """
    old = at_learnt(rows, "old", device)
    gap = logp_N - (logp_N.detach() if old is None else old)
    if rules.per_sequence:
        counts = torch.tensor([int(row.learnt.sum()) for row in rows], device=device)
        owner = torch.repeat_interleave(torch.arange(len(rows), device=device), counts)
        mean = gap.new_zeros(len(rows)).index_add(0, owner, gap) / counts.clamp(min=1)
        # The value is the sequence's ratio, the gradient flows through each token (GSPO-token).
        gap = gap - gap.detach() + mean.detach()[owner]
    ratio = gap.exp()
    held = ratio.clamp(1 - rules.clip_low, 1 + rules.clip_high)
    chosen = torch.minimum(ratio * weight_N, held * weight_N)
    clipped = (ratio * weight_N != chosen).float().mean() if len(ratio) else ratio.sum()
    return chosen, float(clipped.detach())


def divergence_estimate(logp_N: Tensor, reference_N: Tensor) -> Tensor:
    """An unbiased, never negative estimate of KL(policy, reference) per token. Source: arXiv 2402.03300, equation 4."""
    gap = reference_N - logp_N
    return gap.exp() - gap - 1


def jensen_shannon(teacher_NK: Tensor, student_NK: Tensor, beta: float) -> Tensor:
    """The generalised Jensen-Shannon divergence of log-probabilities, for each of N positions, in nats.

    beta KL(P, M) + (1 - beta) KL(Q, M) with M = beta P + (1 - beta) Q, P the teacher, Q the student; at beta 0 it is
    KL(P, Q) and at 1 KL(Q, P), to which it tends divided by beta and 1 - beta. Source: arXiv 2306.13649, equation 1.
    """
    if beta == 0:
        return _kl(teacher_NK, student_NK)
    if beta == 1:
        return _kl(student_NK, teacher_NK)
    share = teacher_NK.new_tensor(beta)
    mixed = torch.logaddexp(teacher_NK + share.log(), student_NK + (1 - share).log())
    return beta * _kl(teacher_NK, mixed) + (1 - beta) * _kl(student_NK, mixed)


def _kl(one: Tensor, other: Tensor) -> Tensor:
    """KL(one, other) over the last axis; an outcome of probability 0 under `one` adds nothing."""
    gap = torch.where(one == -torch.inf, torch.zeros_like(one), one - other)
    return (one.exp() * gap).sum(-1)


def _distilled(rows: Sequence[Row], logits_NV: Tensor, weight_N: Tensor, rules: LossRules) -> Tensor:
    """The divergence from each row's teacher at its learnt tokens; zero at rows without one."""
    parts: list[Tensor] = []
    at = 0
    for row in rows:
        count = int(row.learnt.sum())
        logits = logits_NV[at : at + count]
        at += count
        if row.target is None:
            parts.append(logits.new_zeros(count))
            continue
        ids = torch.from_numpy(row.ids[row.learnt]).to(logits.device)
        parts.append(row_divergence(row.target, logits, ids, rules))
    return torch.cat(parts) if parts else weight_N.new_zeros(0)


def row_divergence(target: Target, logits_NV: Tensor, ids_N: Tensor, rules: LossRules) -> Tensor:
    """The divergence from a row's teacher at each learnt token; that of a longer piece stands at its first token."""
    student = (logits_NV / rules.temperature).log_softmax(-1)
    teacher = target.logp_NK.to(student.device)
    if target.spans is None:
        if target.ids_NK is None:
            return jensen_shannon(teacher, student, rules.beta)
        told = student.gather(-1, target.ids_NK.to(student.device))
        return jensen_shannon(_with_rest(teacher), _with_rest(told), rules.beta)
    said = student.gather(-1, ids_N[:, None])[:, 0]
    values = student.new_zeros(len(ids_N))
    for number, span in enumerate(target.spans):
        place = span.start
        if span.single:
            outcomes = target.ids_NK[number].to(student.device) if target.ids_NK is not None else None
            own = student[place] if outcomes is None else student[place][outcomes]
            pair = _with_rest(teacher[number][None]), _with_rest(own[None])
        else:  # The piece as a whole, or anything else: two outcomes that mean the same to both tokenizers.
            whole = said[place : place + span.length].sum()
            pair = _with_rest(teacher.new_tensor([[span.logp]])), _with_rest(whole[None, None])
        values = values.index_add(0, torch.tensor([place], device=values.device), jensen_shannon(*pair, rules.beta))
    return values


def _with_rest(logp_NK: Tensor) -> Tensor:
    """One more outcome that holds the mass of all others; at least 1e-9, so that its logarithm exists."""
    rest = (1 - logp_NK.exp().sum(-1, keepdim=True)).clamp(min=1e-9)
    return torch.cat((logp_NK, rest.log()), dim=-1)
