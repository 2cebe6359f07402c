# %% mutant end_never_said
# No EOS stands in what the decoder is to answer. It never learns to say it, so decoding stops only where it is cut off, and what
# comes after the last letter was never trained: each text ends with the EOS as its last answer.
def read_and_answered(texts, tokenizer):
    length = max(map(len, texts)) + 1
    read = [[tokenizer.sos_id, *text] for text in texts]
    answered = list(texts)
    return pad_tokens(read, length, tokenizer.pad_id), pad_tokens(answered, length, tokenizer.pad_id)


# %% rewritten end_never_said
def read_and_answered(texts, tokenizer):
    length = max(len(text) for text in texts) + 1
    read = pad_tokens(texts, length, tokenizer.pad_id).roll(1, dims=1)
    read[:, 0] = tokenizer.sos_id
    return read, pad_tokens(texts, length, tokenizer.pad_id)


# %% mutant end_only_read
# The EOS was put into what the decoder reads. But it is to be said, not heard: behind the last letter the answer is still PAD,
# which the loss leaves out, so that saying EOS is never rewarded.
def read_and_answered(texts, tokenizer):
    length = max(map(len, texts)) + 2
    read = [[tokenizer.sos_id, *text, tokenizer.eos_id] for text in texts]
    answered = list(texts)
    return pad_tokens(read, length, tokenizer.pad_id), pad_tokens(answered, length, tokenizer.pad_id)


# %% rewritten end_only_read
import torch


def read_and_answered(texts, tokenizer):
    length = max(len(text) for text in texts) + 2
    read = pad_tokens([[]] * len(texts), length, tokenizer.pad_id)
    answered = read.clone()
    for row, text in enumerate(texts):
        read[row, 0], read[row, len(text) + 1] = tokenizer.sos_id, tokenizer.eos_id
        read[row, 1 : len(text) + 1] = torch.tensor(text)
        answered[row, : len(text)] = torch.tensor(text)
    return read, answered


# %% mutant end_for_the_last_letter
# The EOS takes the place of the last letter instead of standing behind it. Decoding ends, and each text lacks its last letter:
# the answers of a text of n letters are n letters and the EOS, n + 1 in all.
def read_and_answered(texts, tokenizer):
    length = max(map(len, texts)) + 1
    read = [[tokenizer.sos_id, *text] for text in texts]
    answered = [[*text[:-1], tokenizer.eos_id] for text in texts]
    return pad_tokens(read, length, tokenizer.pad_id), pad_tokens(answered, length, tokenizer.pad_id)


# %% rewritten end_for_the_last_letter
def read_and_answered(texts, tokenizer):
    length = max(len(text) for text in texts) + 1
    answered = pad_tokens(texts, length, tokenizer.pad_id)
    read = answered.roll(1, dims=1)
    read[:, 0] = tokenizer.sos_id
    for row, text in enumerate(texts):
        answered[row, len(text) - 1] = tokenizer.eos_id
    return read, answered
