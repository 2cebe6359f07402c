# %% mutant tail_lost
# The sum is rounded down. What is left over behind the last whole token is lost however large it is, and after scaling, where the
# sum is 6.9999998 as often as 7.0000002, the last token of every other utterance goes with it.
def token_counts(alphas):
    total = alphas.double().sum(dim=1).nan_to_num(0.0, 0.0, 0.0)
    return total.floor().clamp(min=0).long()


# %% rewritten tail_lost
def token_counts(alphas):
    rows = [float(row.double().sum()) for row in alphas]
    return torch.tensor([int(total) if 0 < total < float("inf") else 0 for total in rows])


# %% mutant rounded_up
# The sum is rounded up. Any small weight left over makes one more token, and so does the noise that a predictor hears in silence.
def token_counts(alphas):
    total = alphas.double().sum(dim=1).nan_to_num(0.0, 0.0, 0.0)
    return total.ceil().clamp(min=0).long()


# %% rewritten rounded_up
def token_counts(alphas):
    total = torch.nan_to_num(alphas.double().sum(1), 0.0, 0.0, 0.0)
    whole = total.long()
    return whole + (total > whole).long()


# %% mutant half_to_even
# torch.round (and Python's round) takes a half to the nearest even number: 2.5 becomes 2, and 1.5 becomes 2 as well. What is left
# over is a token from TAIL on, so a half is rounded up.
def token_counts(alphas):
    total = alphas.double().sum(dim=1).nan_to_num(0.0, 0.0, 0.0)
    return total.round().clamp(min=0).long()


# %% rewritten half_to_even
def token_counts(alphas):
    rows = [float(row.double().sum()) for row in alphas]
    return torch.tensor([round(total) if 0 < total < float("inf") else 0 for total in rows])


# %% mutant not_finite
# A sum that is infinite or NaN is turned into a whole number as it is, and becomes an enormous one. One broken recording then asks
# for more memory than there is.
def token_counts(alphas):
    return (alphas.double().sum(dim=1) + 1 - TAIL).floor().clamp(min=0).long()


# %% rewritten not_finite
def token_counts(alphas):
    total = torch.sum(alphas.double(), dim=-1)
    return torch.clamp(torch.floor(total + (1.0 - TAIL)), min=0.0).to(torch.int64)


# %% mutant strong_frames
# This counts the frames whose weight is a half or more. A token may be spread over several light frames, and a heavy frame may hold
# two: only the sum knows how many there are.
def token_counts(alphas):
    return (alphas.nan_to_num(0.0, 0.0, 0.0) >= TAIL).sum(dim=1)


# %% rewritten strong_frames
def token_counts(alphas):
    return torch.tensor([sum(TAIL <= weight < float("inf") for weight in row) for row in alphas.tolist()])
