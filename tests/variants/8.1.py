# %% torch
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    return torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=pad,
        label_smoothing=smoothing,
        reduction="sum",
    )


# %% written_out_goal
def label_smoothed_cross_entropy(logits, targets, pad, smoothing=0.0):
    vocab = logits.shape[-1]
    goal = torch.full(logits.shape, smoothing / vocab, device=logits.device)
    goal.scatter_add_(-1, targets[..., None], torch.full_like(targets[..., None], 1 - smoothing, dtype=goal.dtype))
    real = (targets != pad).float()
    return -torch.einsum("blv,blv,bl->", goal, torch.log_softmax(logits.float(), dim=-1), real)
