# %% one_by_one
class Candidate:
    def score(self, options):
        n = len(self.tokens)
        total = options.token_bonus * n
        if options.ctc_weight > 0:
            total += options.ctc_weight * self.ctc
        if options.ctc_weight < 1:
            total += (1 - options.ctc_weight) * self.attention
        if options.lm_weight > 0:
            total += options.lm_weight * self.lm
        return total * (n + 1) ** -options.length_penalty


def rescore(candidates, options):
    found = list(candidates)
    scores = [candidate.score(options) for candidate in found]
    return [found[i] for i in sorted(range(len(found)), key=lambda i: (-scores[i], i))]
