# %% mask
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    counted = torch.ones(log_probs.shape[-1], device=log_probs.device, dtype=log_probs.dtype)
    counted[eos] = 0
    fused = log_probs + token_bonus * counted
    return fused if lm_weight == 0 or lm_log_probs is None else torch.add(fused, lm_log_probs, alpha=lm_weight)


# %% in_place_on_a_copy
def shallow_fusion(log_probs, lm_log_probs, lm_weight, token_bonus, eos):
    fused = log_probs.clone()
    if lm_log_probs is not None and lm_weight > 0:
        fused += lm_log_probs * lm_weight
    end = fused[..., eos].clone()
    fused += token_bonus
    fused[..., eos] = end
    return fused
