# %% mutant present_length
# The bound divides by the present length. That is the score the hypothesis would have if it ended now; by getting longer
# it may do better, for a longer text divides its sum by more.
def length_normalised(log_prob, length, length_penalty):
    return log_prob / length**length_penalty


def best_possible(log_prob, length, limit, length_penalty):
    return length_normalised(log_prob, length + 0 * limit, length_penalty)


# %% rewritten present_length
import torch


def length_normalised(log_prob, length, length_penalty):
    return log_prob * torch.as_tensor(length) ** -length_penalty


def best_possible(log_prob, length, limit, length_penalty):
    here = torch.full_like(log_prob, float(length))
    return log_prob / here.pow(length_penalty)


# %% mutant eos_not_counted
# The longest text has limit tokens and an EOS, and the EOS is scored too: limit + 1 tokens, and length + 1 for one that
# ends now. Without it the bound is too low, and the search may stop before the best text is found.
def length_normalised(log_prob, length, length_penalty):
    return log_prob / length**length_penalty


def best_possible(log_prob, length, limit, length_penalty):
    return length_normalised(log_prob, limit if length_penalty > 0 else length, length_penalty)


# %% rewritten eos_not_counted
import torch


def length_normalised(log_prob, length, length_penalty):
    return log_prob * torch.as_tensor(length) ** -length_penalty


def best_possible(log_prob, length, limit, length_penalty):
    longest = torch.as_tensor(limit, dtype=log_prob.dtype)
    if length_penalty <= 0:
        longest = torch.as_tensor(length, dtype=log_prob.dtype)
    return log_prob / longest.pow(length_penalty)


# %% mutant always_the_longest
# The longest text is taken for the best in every case. With a negative exponent the score is multiplied by a power of the
# length, and then it is best to end at once.
def length_normalised(log_prob, length, length_penalty):
    return log_prob / length**length_penalty


def best_possible(log_prob, length, limit, length_penalty):
    return length_normalised(log_prob, limit + 1, length_penalty)


# %% rewritten always_the_longest
import torch


def length_normalised(log_prob, length, length_penalty):
    return log_prob * torch.as_tensor(length) ** -length_penalty


def best_possible(log_prob, length, limit, length_penalty):
    longest = torch.as_tensor(limit, dtype=log_prob.dtype) + 1
    return log_prob / longest.pow(length_penalty)


# %% mutant multiplied
# The log-probability is multiplied by the power of the length instead of divided: long texts, which are less probable to
# begin with, become still worse.
def length_normalised(log_prob, length, length_penalty):
    return log_prob * length**length_penalty


def best_possible(log_prob, length, limit, length_penalty):
    return length_normalised(log_prob, limit + 1 if length_penalty > 0 else length + 1, length_penalty)


# %% rewritten multiplied
import torch


def length_normalised(log_prob, length, length_penalty):
    return log_prob / torch.as_tensor(length) ** -length_penalty


def best_possible(log_prob, length, limit, length_penalty):
    ends = torch.as_tensor(limit if length_penalty > 0 else length, dtype=log_prob.dtype) + 1
    return log_prob * ends.pow(length_penalty)
