# %% mutant over_the_queries
# The softmax runs over the queries, not over the keys: columns sum to 1 instead of rows. Each query must share out 1 over
# the keys, which lie along the last axis.
def attention_weights(scores, mask=None):
    if mask is None:
        return torch.softmax(scores, dim=-2)
    weights = torch.softmax(scores.masked_fill(~mask, -1e9), dim=-2)
    return weights.masked_fill(~mask, 0.0)


# %% rewritten over_the_queries
def attention_weights(scores, mask=None):
    flipped = scores.transpose(-2, -1)
    if mask is None:
        return flipped.softmax(-1).transpose(-2, -1)
    allowed = mask.expand_as(scores).transpose(-2, -1)
    very_low = torch.full_like(flipped, torch.finfo(scores.dtype).min)
    weights = torch.where(allowed, flipped, very_low).softmax(-1) * allowed
    return weights.transpose(-2, -1)


# %% mutant inverted
# The mask is read the wrong way round: in this course True means "may be attended". Here the forbidden keys get everything
# and the allowed ones nothing.
def attention_weights(scores, mask=None):
    if mask is None:
        return torch.softmax(scores, dim=-1)
    weights = torch.softmax(scores.masked_fill(mask, torch.finfo(scores.dtype).min), dim=-1)
    return weights.masked_fill(mask, 0.0)


# %% rewritten inverted
def attention_weights(scores, mask=None):
    if mask is None:
        return torch.softmax(scores, dim=-1)
    hidden = mask.to(scores.dtype)
    weights = torch.softmax(scores - 1e9 * hidden, dim=-1)
    return weights * (1 - hidden)


# %% mutant after_the_softmax
# Forbidden weights are set to zero after the softmax, and that is all: the forbidden keys have taken their share of 1
# already, so what is left sums to less than 1, and less the more padding there is.
def attention_weights(scores, mask=None):
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights


# %% rewritten after_the_softmax
def attention_weights(scores, mask=None):
    exponentials = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    weights = exponentials / exponentials.sum(dim=-1, keepdim=True)
    return weights if mask is None else weights * mask


# %% mutant minus_infinity
# Forbidden scores are minus infinity. In a row in which nothing is allowed, that makes 0/0 = NaN, and one NaN is enough
# to end a training.
def attention_weights(scores, mask=None):
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.softmax(scores, dim=-1)


# %% rewritten minus_infinity
def attention_weights(scores, mask=None):
    if mask is None:
        return scores.softmax(dim=-1)
    scores = torch.where(mask, scores, torch.tensor(float("-inf"), dtype=scores.dtype))
    exponentials = torch.exp(scores - scores.max(dim=-1, keepdim=True).values)
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


# %% mutant filled_with_zero
# Forbidden scores are set to 0. That is an ordinary score, not a low one: its exponential is 1, so the forbidden keys still get
# a share.
def attention_weights(scores, mask=None):
    if mask is not None:
        scores = scores.masked_fill(~mask, 0.0)
    return torch.softmax(scores, dim=-1)


# %% rewritten filled_with_zero
def attention_weights(scores, mask=None):
    return torch.softmax(scores if mask is None else scores * mask, dim=-1)


# %% mutant even_where_nothing_is_allowed
# A very low score for the forbidden keys is right as long as one key is allowed. Where none is, all are equally low, and the
# softmax, which sees only differences, shares 1 out evenly among keys that nobody may see.
def attention_weights(scores, mask=None):
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.softmax(scores, dim=-1)


# %% rewritten even_where_nothing_is_allowed
def attention_weights(scores, mask=None):
    if mask is None:
        return scores.softmax(-1)
    very_low = torch.full_like(scores, -1e9)
    return torch.where(mask, scores, very_low).softmax(-1)


# %% mutant nan_in_the_gradient
# The NaN of a row in which nothing is allowed is wiped away in the result, but it is still there on the way back: the gradient of
# that row is NaN. It must not arise in the first place.
def attention_weights(scores, mask=None):
    if mask is None:
        return torch.softmax(scores, dim=-1)
    bias = torch.zeros_like(scores).masked_fill(~mask, float("-inf"))
    return torch.nan_to_num(torch.softmax(scores + bias, dim=-1))


# %% rewritten nan_in_the_gradient
def attention_weights(scores, mask=None):
    if mask is None:
        return torch.softmax(scores, dim=-1)
    low = scores + torch.log(mask.to(scores.dtype))  # log 0 is minus infinity
    weights = low.softmax(dim=-1)
    return torch.where(mask.any(dim=-1, keepdim=True), weights, torch.zeros_like(weights))


# %% mutant overflow
# The exponential of a large score is infinite: e to the power of 100 no longer fits into 32 bits. Subtract the row's largest
# score first, which changes no weight, or leave it to torch.softmax.
def attention_weights(scores, mask=None):
    exponentials = scores.exp()
    if mask is not None:
        exponentials = exponentials.masked_fill(~mask, 0.0)
    return exponentials / exponentials.sum(dim=-1, keepdim=True).clamp(min=1e-30)


# %% rewritten overflow
def attention_weights(scores, mask=None):
    powers = torch.pow(torch.tensor(math.e, dtype=torch.float64), scores.double()).to(scores.dtype)
    if mask is not None:
        powers = torch.where(mask, powers, torch.zeros_like(powers))
    total = torch.einsum("...k->...", powers).unsqueeze(-1)
    return powers / torch.where(total > 0, total, torch.ones_like(total))


# %% mutant renormalised_afterwards
# The allowed weights are divided by their sum after the softmax. That sum is 0 where nothing is allowed, and also where a forbidden
# score lies far above the rest: 0/0 = NaN. Hide the forbidden scores before the softmax instead.
def attention_weights(scores, mask=None):
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights * mask
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights


# %% rewritten renormalised_afterwards
def attention_weights(scores, mask=None):
    if mask is None:
        return F.softmax(scores, dim=-1)
    shares = torch.exp(F.log_softmax(scores, dim=-1)).masked_fill(~mask, 0.0)
    total = torch.einsum("...k->...", shares)
    return shares / total[..., None]
