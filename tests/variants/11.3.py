# %% apply
def set_dropout(model, p, attention):
    def visit(module):
        if isinstance(module, MultiHeadAttention):
            module.dropout = attention
        if isinstance(module, Dropout):
            module.p = p

    model.apply(visit)


# %% recursion
def set_dropout(model, p, attention):
    match model:
        case Dropout():
            model.p = p
        case MultiHeadAttention():
            model.dropout = attention
    for child in model.children():
        set_dropout(child, p, attention)
