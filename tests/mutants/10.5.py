# %% mutant shares_the_weight
# The recogniser gets 1 - lm_weight, as if the two were parts of a mean. That is another scale: a weight of 1 would switch
# the sound off.
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    bonus = torch.full_like(log_probs, token_bonus)
    bonus[..., eos] = 0.0
    if lm_log_probs is None or lm_weight == 0:
        return log_probs + bonus
    return (1 - lm_weight) * log_probs + lm_weight * lm_log_probs + bonus


# %% rewritten shares_the_weight
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    vocab = torch.arange(log_probs.shape[-1], device=log_probs.device)
    fused = log_probs
    if lm_log_probs is not None and lm_weight > 0:
        fused = torch.lerp(log_probs, lm_log_probs, lm_weight)
    return fused + token_bonus * (vocab != eos)


# %% mutant the_end_gets_a_bonus
# The end of the text gets the bonus too. The bonus is there to make up for the cost of long texts; given to the end it
# rewards stopping early as well.
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    fused = log_probs + token_bonus
    if lm_log_probs is not None and lm_weight > 0:
        fused = fused + lm_weight * lm_log_probs
    return fused


# %% rewritten the_end_gets_a_bonus
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    terms = [log_probs, torch.full_like(log_probs, token_bonus)]
    if lm_log_probs is not None and lm_weight > 0:
        terms.append(lm_log_probs.mul(lm_weight))
    return torch.stack(terms).sum(dim=0)


# %% mutant the_end_is_free
# The language model has no say about the end of the text. Stopping then costs nothing while every word does, and texts
# come out too short.
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    bonus = torch.full_like(log_probs, token_bonus)
    bonus[..., eos] = 0.0
    fused = log_probs + bonus
    if lm_log_probs is not None and lm_weight > 0:
        weighted = lm_weight * lm_log_probs
        weighted[..., eos] = 0.0
        fused = fused + weighted
    return fused


# %% rewritten the_end_is_free
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    fused = log_probs.clone()
    words = [token for token in range(log_probs.shape[-1]) if token != eos]
    fused[..., words] += token_bonus
    if lm_log_probs is not None and lm_weight > 0:
        fused[..., words] += lm_weight * lm_log_probs[..., words]
    return fused


# %% mutant normalised_again
# The fused scores are made to sum to 1 again at each step. Then a text is no longer ranked by the sum of the two
# log-probabilities: a step in which both models find nothing good costs as little as one in which they agree.
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    bonus = torch.full_like(log_probs, token_bonus)
    bonus[..., eos] = 0.0
    fused = log_probs + bonus
    if lm_log_probs is not None and lm_weight > 0:
        fused = fused + lm_weight * lm_log_probs
    return fused.log_softmax(dim=-1)


# %% rewritten normalised_again
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    fused = log_probs + token_bonus
    fused[..., eos] -= token_bonus
    if lm_log_probs is not None and lm_weight > 0:
        fused += lm_weight * lm_log_probs
    return fused - torch.logsumexp(fused, dim=-1, keepdim=True)


# %% mutant nothing_times_infinity
# The language model is multiplied by a weight of 0. Where it holds a token to be impossible that is 0 times minus infinity,
# NaN, and a search with NaN finds nothing.
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    bonus = torch.full_like(log_probs, token_bonus)
    bonus[..., eos] = 0.0
    fused = log_probs + bonus
    if lm_log_probs is not None:
        fused = fused + lm_weight * lm_log_probs
    return fused


# %% rewritten nothing_times_infinity
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    lm = torch.zeros_like(log_probs) if lm_log_probs is None else lm_log_probs
    fused = torch.add(log_probs, lm * lm_weight)
    mark = torch.ones(log_probs.shape[-1], device=log_probs.device)
    mark[eos] = 0
    return fused + mark * token_bonus
