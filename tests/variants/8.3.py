# %% lengths
class Sizes:
    @staticmethod
    def of(batches, ranks=ALONE):
        real = [length for batch in batches if not batch.spare for length in batch.target_lengths.tolist()]
        count, total = (round(value) for value in ranks.sum([len(real), sum(real)]))
        return Sizes(utterances=count, ctc_tokens=total or 1, attention_tokens=total + count)


class JointLoss:
    def mean(self, totals, sizes):
        attention = totals.attention / sizes.attention_tokens
        return attention + self.ctc_weight * (totals.ctc / sizes.ctc_tokens - attention)
