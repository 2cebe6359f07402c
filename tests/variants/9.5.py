# %% both_ends
import torch


def length_normalised(log_prob, length, length_penalty):
    return log_prob * torch.as_tensor(length, dtype=log_prob.dtype, device=log_prob.device) ** (-length_penalty)


def best_possible(log_prob, length, limit, length_penalty):
    now = length_normalised(log_prob, length + 1, length_penalty)
    late = length_normalised(log_prob, limit + 1, length_penalty)
    return torch.maximum(now, late)


# %% logarithms
import torch


def length_normalised(log_prob, length, length_penalty):
    powers = torch.as_tensor(length, dtype=log_prob.dtype, device=log_prob.device).log() * length_penalty
    return log_prob / powers.exp()


def best_possible(log_prob, length, limit, length_penalty):
    end = limit if length_penalty > 0 else length
    return length_normalised(log_prob, torch.as_tensor(end, device=log_prob.device) + 1, length_penalty)
