# %% mutant eos_forgotten
# The decoder's tokens are counted without EOS. It has one more than CTC for each utterance, and the sum that is divided contains the
# loss of all of them.
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        utterances = sum(len(batch) for batch in batches if not batch.spare)
        tokens = sum(int(batch.target_lengths.sum()) for batch in batches if not batch.spare)
        utterances, tokens = map(int, ranks.sum([utterances, tokens]))
        return Sizes(utterances, max(tokens, 1), max(tokens, 1))


class JointLoss:
    def mean(self, totals, sizes):
        ctc, attention = totals.ctc / sizes.ctc_tokens, totals.attention / sizes.attention_tokens
        return self.ctc_weight * ctc + (1 - self.ctc_weight) * attention


# %% rewritten eos_forgotten
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        real = [batch.target_lengths for batch in batches if not batch.spare]
        lengths = torch.cat([*real, torch.zeros(0, dtype=torch.long)])
        count, total = ranks.sum([float(len(lengths)), float(lengths.sum())])
        total = int(total) or 1
        return Sizes(utterances=int(count), ctc_tokens=total, attention_tokens=total)


class JointLoss:
    def mean(self, totals, sizes):
        weights = torch.tensor([self.ctc_weight / sizes.ctc_tokens, (1 - self.ctc_weight) / sizes.attention_tokens])
        return (weights * torch.stack([totals.ctc, totals.attention])).sum()


# %% mutant by_utterances
# The sums are divided by the number of utterances. That is a loss per utterance: it grows with the length of the texts, and cannot be
# compared between corpora or tokenizers.
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        utterances = sum(len(batch) for batch in batches if not batch.spare)
        tokens = sum(int(batch.target_lengths.sum()) for batch in batches if not batch.spare)
        utterances, tokens = map(int, ranks.sum([utterances, tokens]))
        return Sizes(utterances, max(tokens, 1), tokens + utterances)


class JointLoss:
    def mean(self, totals, sizes):
        ctc, attention = totals.ctc / sizes.utterances, totals.attention / sizes.utterances
        return self.ctc_weight * ctc + (1 - self.ctc_weight) * attention


# %% rewritten by_utterances
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        real = [batch.target_lengths for batch in batches if not batch.spare]
        lengths = torch.cat([*real, torch.zeros(0, dtype=torch.long)])
        count, total = (int(value) for value in ranks.sum([float(len(lengths)), float(lengths.sum())]))
        return Sizes(utterances=count, ctc_tokens=total or 1, attention_tokens=total + count)


class JointLoss:
    def mean(self, totals, sizes):
        mixed = totals.attention + self.ctc_weight * (totals.ctc - totals.attention)
        return mixed / sizes.utterances


# %% mutant spare_counted
# Spare batches are counted. They are repetitions that keep a process busy, and their losses are left out: counting them makes the mean
# too small.
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        utterances = sum(len(batch) for batch in batches)
        tokens = sum(int(batch.target_lengths.sum()) for batch in batches)
        utterances, tokens = map(int, ranks.sum([utterances, tokens]))
        return Sizes(utterances, max(tokens, 1), tokens + utterances)


class JointLoss:
    def mean(self, totals, sizes):
        ctc, attention = totals.ctc / sizes.ctc_tokens, totals.attention / sizes.attention_tokens
        return self.ctc_weight * ctc + (1 - self.ctc_weight) * attention


# %% rewritten spare_counted
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        lengths = torch.cat([batch.target_lengths for batch in batches])
        count, total = (int(value) for value in ranks.sum([float(len(lengths)), float(lengths.sum())]))
        return Sizes(utterances=count, ctc_tokens=total or 1, attention_tokens=total + count)


class JointLoss:
    def mean(self, totals, sizes):
        weights = torch.tensor([self.ctc_weight / sizes.ctc_tokens, (1 - self.ctc_weight) / sizes.attention_tokens])
        return (weights * torch.stack([totals.ctc, totals.attention])).sum()


# %% mutant this_process_alone
# Only the tokens of this process are counted. Each process then divides by its own share, and a short utterance counts for more where
# its companions are short too: the gradient is not that of the large batch.
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        utterances = sum(len(batch) for batch in batches if not batch.spare)
        tokens = sum(int(batch.target_lengths.sum()) for batch in batches if not batch.spare)
        return Sizes(utterances, max(tokens, 1), tokens + utterances)


class JointLoss:
    def mean(self, totals, sizes):
        ctc, attention = totals.ctc / sizes.ctc_tokens, totals.attention / sizes.attention_tokens
        return self.ctc_weight * ctc + (1 - self.ctc_weight) * attention


# %% rewritten this_process_alone
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        real = [batch.target_lengths for batch in batches if not batch.spare]
        lengths = torch.cat([*real, torch.zeros(0, dtype=torch.long)])
        count, total = len(lengths), int(lengths.sum())
        return Sizes(utterances=count, ctc_tokens=total or 1, attention_tokens=total + count)


class JointLoss:
    def mean(self, totals, sizes):
        weights = torch.tensor([self.ctc_weight / sizes.ctc_tokens, (1 - self.ctc_weight) / sizes.attention_tokens])
        return (weights * torch.stack([totals.ctc, totals.attention])).sum()


# %% mutant weights_exchanged
# The weights are exchanged: the cross-entropy gets ctc_weight, and CTC the rest. Both losses fall, and the setting means the opposite
# of what it says.
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        utterances = sum(len(batch) for batch in batches if not batch.spare)
        tokens = sum(int(batch.target_lengths.sum()) for batch in batches if not batch.spare)
        utterances, tokens = map(int, ranks.sum([utterances, tokens]))
        return Sizes(utterances, max(tokens, 1), tokens + utterances)


class JointLoss:
    def mean(self, totals, sizes):
        ctc, attention = totals.ctc / sizes.ctc_tokens, totals.attention / sizes.attention_tokens
        return (1 - self.ctc_weight) * ctc + self.ctc_weight * attention


# %% rewritten weights_exchanged
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        real = [batch.target_lengths for batch in batches if not batch.spare]
        lengths = torch.cat([*real, torch.zeros(0, dtype=torch.long)])
        count, total = (int(value) for value in ranks.sum([float(len(lengths)), float(lengths.sum())]))
        return Sizes(utterances=count, ctc_tokens=total or 1, attention_tokens=total + count)


class JointLoss:
    def mean(self, totals, sizes):
        weights = torch.tensor([(1 - self.ctc_weight) / sizes.ctc_tokens, self.ctc_weight / sizes.attention_tokens])
        return (weights * torch.stack([totals.ctc, totals.attention])).sum()
