# %% mutant same_polarity
# The masks go to PyTorch with the meaning that they have here. nn.MultiheadAttention reads True as "ignore": it then attends to
# padding and to the future, and to nothing else.
def to_torch_key_padding_mask(padding):
    return padding


def to_torch_attention_mask(mask, num_heads):
    return mask if mask.dim() == 2 else mask.repeat_interleave(num_heads, dim=0)


# %% rewritten same_polarity
def to_torch_key_padding_mask(padding):
    return padding.clone()


def to_torch_attention_mask(mask, num_heads):
    if mask.dim() == 2:
        return mask.clone()
    return torch.cat([table.expand(num_heads, -1, -1) for table in mask])


# %% mutant heads_outside
# The copies are laid out head by head (all utterances for head 0, then all for head 1). PyTorch counts the other way: all
# heads of utterance 0 come first. So most utterances get another one's mask, and no shape is wrong.
def to_torch_key_padding_mask(padding):
    return ~padding


def to_torch_attention_mask(mask, num_heads):
    if mask.dim() == 2:
        return ~mask
    return ~mask.repeat(num_heads, 1, 1)


# %% rewritten heads_outside
def to_torch_key_padding_mask(padding):
    return padding.logical_not()


def to_torch_attention_mask(mask, num_heads):
    if mask.dim() == 2:
        return mask.logical_not()
    return torch.cat([mask.logical_not()] * num_heads)


# %% mutant float_mask
# 1.0 and 0.0 instead of True and False. nn.MultiheadAttention *adds* a float mask to the scores, so that the keys that should be
# ignored are preferred a little, and nothing is hidden.
def to_torch_key_padding_mask(padding):
    return (~padding).float()


def to_torch_attention_mask(mask, num_heads):
    if mask.dim() == 3:
        mask = mask.repeat_interleave(num_heads, dim=0)
    return (~mask).float()


# %% rewritten float_mask
def to_torch_key_padding_mask(padding):
    return 1.0 - padding.to(torch.float32)


def to_torch_attention_mask(mask, num_heads):
    ignored = 1.0 - mask.to(torch.float32)
    if ignored.dim() == 2:
        return ignored
    batch, queries, keys = ignored.shape
    return ignored[:, None].expand(batch, num_heads, queries, keys).reshape(-1, queries, keys)


# %% mutant one_for_all_heads
# Each utterance has one table instead of one per head. nn.MultiheadAttention wants batch * num_heads of them and stops with a
# message about the shape of attn_mask.
def to_torch_key_padding_mask(padding):
    return ~padding


def to_torch_attention_mask(mask, num_heads):
    return ~mask


# %% rewritten one_for_all_heads
def to_torch_key_padding_mask(padding):
    return torch.logical_not(padding)


def to_torch_attention_mask(mask, num_heads):
    return mask == False  # noqa: E712


# %% mutant attention_mask_kept
# The padding mask is turned round, the attention mask is not. Both arguments of nn.MultiheadAttention mean True = ignore.
def to_torch_key_padding_mask(padding):
    return ~padding


def to_torch_attention_mask(mask, num_heads):
    return mask if mask.dim() == 2 else mask.repeat_interleave(num_heads, dim=0)


# %% rewritten attention_mask_kept
def to_torch_key_padding_mask(padding):
    return padding.logical_not()


def to_torch_attention_mask(mask, num_heads):
    if mask.dim() == 2:
        return mask
    return torch.stack([table for table in mask for _ in range(num_heads)])
