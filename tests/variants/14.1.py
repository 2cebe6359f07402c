# %% in_place
import torch


def read_and_answered(texts, tokenizer):
    size = (len(texts), 1 + max(len(text) for text in texts))
    read = torch.full(size, tokenizer.pad_id)
    answered = torch.full(size, tokenizer.pad_id)
    read[:, 0] = tokenizer.sos_id
    for row, text in enumerate(texts):
        read[row, 1 : 1 + len(text)] = torch.tensor(text)
        answered[row, : len(text)] = torch.tensor(text)
        answered[row, len(text)] = tokenizer.eos_id
    return read, answered


# %% cut_from_one_row
def read_and_answered(texts, tokenizer):
    whole = [[tokenizer.sos_id, *text, tokenizer.eos_id] for text in texts]
    both = pad_tokens(whole, max(map(len, whole)), tokenizer.pad_id)
    # The EOS of a shorter text is read, too. Nothing is asked there: the answer is PAD.
    return both[:, :-1], both[:, 1:]
