# %% mutant heads_swapped
# ctc_weight is given to the decoder, and the rest to CTC.
class Candidate:
    def score(self, options):
        weight = options.ctc_weight
        parts = [(weight, self.attention), (1 - weight, self.ctc), (options.lm_weight, self.lm)]
        total = sum(share * score for share, score in parts if share > 0) + options.token_bonus * len(self.tokens)
        return total / (len(self.tokens) + 1) ** options.length_penalty


def rescore(candidates, options):
    return sorted(candidates, key=lambda candidate: candidate.score(options), reverse=True)


# %% rewritten heads_swapped
class Candidate:
    def score(self, options):
        total = options.token_bonus * len(self.tokens)
        if options.ctc_weight > 0:
            total += options.ctc_weight * self.attention
        if options.ctc_weight < 1:
            total += (1 - options.ctc_weight) * self.ctc
        if options.lm_weight > 0:
            total += options.lm_weight * self.lm
        return total * (1 + len(self.tokens)) ** -options.length_penalty


def rescore(candidates, options):
    return sorted(candidates, key=lambda candidate: candidate.score(options), reverse=True)


# %% mutant the_end_is_not_counted
# The length penalty divides by the number of tokens of the text, and forgets the end, which was scored too. An empty text
# would be divided by 0.
class Candidate:
    def score(self, options):
        weight = options.ctc_weight
        parts = [(weight, self.ctc), (1 - weight, self.attention), (options.lm_weight, self.lm)]
        total = sum(share * score for share, score in parts if share > 0) + options.token_bonus * len(self.tokens)
        return total / len(self.tokens) ** options.length_penalty


def rescore(candidates, options):
    return sorted(candidates, key=lambda candidate: candidate.score(options), reverse=True)


# %% rewritten the_end_is_not_counted
class Candidate:
    def score(self, options):
        n = len(self.tokens)
        total = n * options.token_bonus
        for share, value in ((options.ctc_weight, self.ctc), (1 - options.ctc_weight, self.attention)):
            total += share * value if share else 0.0
        total += options.lm_weight * self.lm if options.lm_weight else 0.0
        return total * float(n) ** -options.length_penalty


def rescore(candidates, options):
    return sorted(candidates, key=lambda candidate: candidate.score(options), reverse=True)


# %% mutant impossible_to_all
# A part with a weight of 0 is multiplied all the same. Where that model holds the text to be impossible the score is 0 times
# minus infinity, NaN, and NaN cannot be sorted.
class Candidate:
    def score(self, options):
        weight = options.ctc_weight
        total = weight * self.ctc + (1 - weight) * self.attention + options.lm_weight * self.lm
        total += options.token_bonus * len(self.tokens)
        return total / (len(self.tokens) + 1) ** options.length_penalty


def rescore(candidates, options):
    return sorted(candidates, key=lambda candidate: candidate.score(options), reverse=True)


# %% rewritten impossible_to_all
class Candidate:
    def score(self, options):
        n = len(self.tokens)
        shares = (options.ctc_weight, 1 - options.ctc_weight, options.lm_weight, options.token_bonus)
        values = (self.ctc, self.attention, self.lm, n)
        return sum(a * b for a, b in zip(shares, values)) * (n + 1) ** -options.length_penalty


def rescore(candidates, options):
    return sorted(candidates, key=lambda candidate: candidate.score(options), reverse=True)


# %% mutant worst_first
# The list is sorted upwards: the best text stands at the end.
class Candidate:
    def score(self, options):
        weight = options.ctc_weight
        parts = [(weight, self.ctc), (1 - weight, self.attention), (options.lm_weight, self.lm)]
        total = sum((share * score for share, score in parts if share > 0)) + options.token_bonus * len(self.tokens)
        return total / (len(self.tokens) + 1) ** options.length_penalty


def rescore(candidates, options):
    return sorted(candidates, key=lambda candidate: candidate.score(options))


# %% rewritten worst_first
class Candidate:
    def score(self, options):
        weight = options.ctc_weight
        parts = [(weight, self.ctc), (1 - weight, self.attention), (options.lm_weight, self.lm)]
        total = sum((share * score for share, score in parts if share > 0)) + options.token_bonus * len(self.tokens)
        return total / (len(self.tokens) + 1) ** options.length_penalty


def rescore(candidates, options):
    found = list(candidates)
    order = sorted(range(len(found)), key=lambda i: found[i].score(options))
    return [found[i] for i in order]


# %% mutant twins_change_places
# Equal scores change their order, because an upward list is turned round. What the search had put first among equals
# comes last.
class Candidate:
    def score(self, options):
        weight = options.ctc_weight
        parts = [(weight, self.ctc), (1 - weight, self.attention), (options.lm_weight, self.lm)]
        total = sum((share * score for share, score in parts if share > 0)) + options.token_bonus * len(self.tokens)
        return total / (len(self.tokens) + 1) ** options.length_penalty


def rescore(candidates, options):
    return sorted(candidates, key=lambda candidate: candidate.score(options))[::-1]


# %% rewritten twins_change_places
class Candidate:
    def score(self, options):
        weight = options.ctc_weight
        parts = [(weight, self.ctc), (1 - weight, self.attention), (options.lm_weight, self.lm)]
        total = sum((share * score for share, score in parts if share > 0)) + options.token_bonus * len(self.tokens)
        return total / (len(self.tokens) + 1) ** options.length_penalty


def rescore(candidates, options):
    found = list(candidates)
    found.sort(key=lambda candidate: candidate.score(options))
    found.reverse()
    return found
