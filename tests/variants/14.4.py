# %% counted
def choose(examples, factor):
    def needed(tokens):
        return sum(1 if at == 0 or tokens[at] != tokens[at - 1] else 2 for at in range(len(tokens)))

    return [example for example in examples if needed(example.tokens) <= -(-len(example.features) // factor)]


def alignment_loss(log_probs, frames, batch, blank):
    ctc = torch.nn.CTCLoss(blank=blank)
    return ctc(log_probs.permute(1, 0, 2), batch.targets, frames, batch.target_lengths)


# %% by_the_library
from asr_tutorial.dataset import frames_needed


def choose(examples, factor):
    fits = []
    for example in examples:
        time = (len(example.features) + factor - 1) // factor
        if frames_needed(example.tokens) <= time:
            fits.append(example)
    return fits


def alignment_loss(log_probs, frames, batch, blank):
    losses = F.ctc_loss(log_probs.transpose(0, 1), batch.targets, frames, batch.target_lengths, blank, reduction="none")
    return (losses / batch.target_lengths).mean()
