# %% mutant frames_before_subsampling
# The text is compared with the frames of the sound. CTC walks over the frames of the encoder, and these are fewer by the factor: an
# utterance with more letters than encoder frames has no path, its loss is infinite, and one step with it makes all weights NaN.
def choose(examples, factor):
    return [example for example in examples if len(example.tokens) <= len(example.features)]


def alignment_loss(log_probs, frames, batch, blank):
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=blank)


# %% rewritten frames_before_subsampling
def choose(examples, factor):
    chosen = []
    for example in examples:
        if example.features.shape[0] >= len(example.tokens):
            chosen.append(example)
    return chosen


def alignment_loss(log_probs, frames, batch, blank):
    ctc = torch.nn.CTCLoss(blank=blank)
    return ctc(log_probs.permute(1, 0, 2), batch.targets, frames, batch.target_lengths)


# %% mutant repeats_forgotten
# Subsampled frames are counted, but not the blanks that must stand between two equal letters: LL takes three frames, L, blank and L.
# A text with doubled letters that just fits is still impossible, and one such utterance is enough.
def choose(examples, factor):
    return [example for example in examples if len(example.tokens) <= math.ceil(len(example.features) / factor)]


def alignment_loss(log_probs, frames, batch, blank):
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=blank)


# %% rewritten repeats_forgotten
def choose(examples, factor):
    return list(filter(lambda example: (len(example.features) + factor - 1) // factor >= len(example.tokens), examples))


def alignment_loss(log_probs, frames, batch, blank):
    ctc = torch.nn.CTCLoss(blank=blank)
    return ctc(log_probs.permute(1, 0, 2), batch.targets, frames, batch.target_lengths)


# %% mutant infinity_swept_away
# zero_infinity makes the impossible utterances' losses 0, and their gradients too. Nothing is NaN any more, and nothing says that
# these utterances teach nothing, while the loss that is reported is better than it is: leave them out where they are chosen.
def choose(examples, factor):
    return [example for example in examples if len(example.tokens) <= len(example.features)]


def alignment_loss(log_probs, frames, batch, blank):
    time_first = log_probs.transpose(0, 1)
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=blank, zero_infinity=True)


# %% rewritten infinity_swept_away
def choose(examples, factor):
    chosen = []
    for example in examples:
        if example.features.shape[0] >= len(example.tokens):
            chosen.append(example)
    return chosen


def alignment_loss(log_probs, frames, batch, blank):
    ctc = torch.nn.CTCLoss(blank=blank, reduction="none")
    losses = ctc(log_probs.permute(1, 0, 2), batch.targets, frames, batch.target_lengths) / batch.target_lengths
    return torch.where(losses.isinf(), torch.zeros_like(losses), losses).mean()


# %% mutant rounded_down
# The encoder's frames are rounded down. A last, incomplete group of frames is a frame of the encoder too (rounded up), so that
# utterances that just fit are thrown away, and with them speech that was paid for.
def choose(examples, factor):
    chosen = []
    for example in examples:
        repeats = sum(first == second for first, second in zip(example.tokens, example.tokens[1:], strict=False))
        if len(example.tokens) + repeats <= len(example.features) // factor:
            chosen.append(example)
    return chosen


def alignment_loss(log_probs, frames, batch, blank):
    time_first = log_probs.transpose(0, 1)  # (time, batch, vocab)
    return F.ctc_loss(time_first, batch.targets, frames, batch.target_lengths, blank=blank)


# %% rewritten rounded_down
def choose(examples, factor):
    def needed(tokens):
        return sum(1 if at == 0 or tokens[at] != tokens[at - 1] else 2 for at in range(len(tokens)))

    return [example for example in examples if needed(example.tokens) * factor <= len(example.features)]


def alignment_loss(log_probs, frames, batch, blank):
    ctc = torch.nn.CTCLoss(blank=blank)
    return ctc(log_probs.permute(1, 0, 2), batch.targets, frames, batch.target_lengths)
