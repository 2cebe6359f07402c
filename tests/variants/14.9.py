# %% by_hand
import torch


def lm_scores(lm, prefixes):
    logits = lm(prefixes)[:, prefixes.shape[1] - 1, :]
    return logits - torch.logsumexp(logits, dim=1, keepdim=True)
