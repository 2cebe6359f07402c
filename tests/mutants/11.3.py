# %% mutant top_level_only
# Only the direct children of the model are looked at. The encoder and the decoder are children, but their layers are
# children's children: model.modules() goes all the way down.
def set_dropout(model, p, attention):
    for part in model.children():
        for module in part.children():
            if isinstance(module, Dropout):
                module.p = p
            elif isinstance(module, MultiHeadAttention):
                module.dropout = attention


# %% rewritten top_level_only
def set_dropout(model, p, attention):
    for name, module in model.named_modules():
        if name.count(".") == 1 and isinstance(module, Dropout):
            setattr(module, "p", p)


# %% mutant attention_forgotten
# The dropout on attention weights stays what it was. MultiHeadAttention keeps it as a plain number, in dropout: it is no
# module of its own, and no search for Dropout finds it.
def set_dropout(model, p, attention):
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = p


# %% rewritten attention_forgotten
def set_dropout(model, p, attention):
    for module in filter(lambda found: type(found) is Dropout, model.modules()):
        module.__dict__["p"] = p


# %% mutant same_for_attention
# The attention weights get the dropout of all the rest. They have a setting of their own; any dropout there also keeps the
# fused kernels from being used on a CPU.
def set_dropout(model, p, attention):
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = p
        elif isinstance(module, MultiHeadAttention):
            module.dropout = p


# %% rewritten same_for_attention
def set_dropout(model, p, attention):
    for module in model.modules():
        for name in ("p", "dropout"):
            if isinstance(getattr(module, name, None), float | int):
                setattr(module, name, p)


# %% mutant encoder_only
# Only the encoder is reached. The decoder has its own embeddings, sublayers and feed-forward blocks, and it is the part
# that learns transcripts by heart.
def set_dropout(model, p, attention):
    for module in model.encoder.modules():
        if isinstance(module, Dropout):
            module.p = p
        elif isinstance(module, MultiHeadAttention):
            module.dropout = attention


# %% rewritten encoder_only
def set_dropout(model, p, attention):
    for name, module in model.named_modules():
        if not name.startswith("encoder"):
            continue
        if isinstance(module, MultiHeadAttention):
            module.dropout = attention
        if isinstance(module, Dropout):
            module.p = p


# %% mutant zero_ignored
# A value of 0 is taken for "not given", so dropout can never be switched off again. 0 is a value like any other.
def set_dropout(model, p, attention):
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = p or module.p
        elif isinstance(module, MultiHeadAttention):
            module.dropout = attention or module.dropout


# %% rewritten zero_ignored
def set_dropout(model, p, attention):
    for module in model.modules():
        if isinstance(module, Dropout) and p:
            module.p = p
        if isinstance(module, MultiHeadAttention) and attention:
            module.dropout = attention
