# %% mutant measured_by_the_batch
# A stretch is measured by the padded length, which is that of the longest utterance in the batch, and runs on beyond the end of its
# own: a short utterance disappears as a whole, and padding is written to. Let width and place follow the row's own length.
def hide_stretches(features, lengths, share, count):
    hidden = features.clone()
    for row, length in enumerate(lengths.tolist()):
        for _ in range(count):
            width = int(torch.rand(()) * (share * features.shape[1] + 1))
            start = int(torch.rand(()) * length)
            hidden[row, start : start + width] = 0.5
    return hidden


# %% rewritten measured_by_the_batch
def hide_stretches(features, lengths, share, count):
    hidden = features.clone()
    frames = torch.arange(features.shape[1])
    for row in range(len(features)):
        for _ in range(count):
            width = (torch.rand(()) * (share * len(frames) + 1)).floor()
            start = (torch.rand(()) * lengths[row]).floor()
            hidden[row, (frames >= start) & (frames < start + width)] = 0.5
    return hidden


# %% mutant only_the_padding_restored
# The padding is clean again, for stretches are cut off at the end of the utterance. But they are still measured by the longest
# utterance of the batch, and a short one still disappears: the width, too, must be a share of the row's own length.
def hide_stretches(features, lengths, share, count):
    hidden = features.clone()
    for row, length in enumerate(lengths.tolist()):
        for _ in range(count):
            width = int(torch.rand(()) * (share * features.shape[1] + 1))
            start = int(torch.rand(()) * length)
            hidden[row, start : min(start + width, length)] = 0.5
    return hidden


# %% rewritten only_the_padding_restored
def hide_stretches(features, lengths, share, count):
    hidden = features.clone()
    frames = torch.arange(features.shape[1])
    for row in range(len(features)):
        for _ in range(count):
            width = (torch.rand(()) * (share * len(frames) + 1)).floor()
            start = (torch.rand(()) * lengths[row]).floor()
            hidden[row, (frames >= start) & (frames < start + width) & (frames < lengths[row])] = 0.5
    return hidden


# %% mutant short_rows_left_out
# Rows that have padding are left as they are. Nothing is written into padding any more, and only the longest utterance of each batch
# is still augmented: hide stretches in every row, each within its own length.
def hide_stretches(features, lengths, share, count):
    hidden = features.clone()
    for row, length in enumerate(lengths.tolist()):
        if length < features.shape[1]:
            continue
        for _ in range(count):
            width = int(torch.rand(()) * (share * length + 1))
            start = int(torch.rand(()) * (length - width + 1))
            hidden[row, start : start + width] = 0.5
    return hidden


# %% rewritten short_rows_left_out
def hide_stretches(features, lengths, share, count):
    hidden = features.clone()
    frames = features.shape[1]
    for row in (lengths == frames).nonzero().flatten().tolist():
        for _ in range(count):
            width = int((torch.rand(()) * (share * frames + 1)).floor())
            start = int((torch.rand(()) * (frames - width + 1)).floor())
            hidden[row].narrow(0, start, width).fill_(0.5)
    return hidden
