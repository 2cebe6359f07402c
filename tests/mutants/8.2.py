# %% mutant starts_at_zero
# The warm-up begins at a rate of 0: the first step changes nothing, and the peak comes one step late. Step 0 should have the
# share 1 / warmup_steps.
class Schedule:
    def factor(self, step):
        config = self.config
        warmup = max(config.warmup_steps, 1)
        if step < config.warmup_steps:
            return step / warmup
        progress = min(1.0, (step - config.warmup_steps) / max(1, self.total_steps - config.warmup_steps))
        if config.kind == "linear":
            return 1 - (1 - config.final) * progress
        if config.kind == "cosine":
            return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2
        if config.kind == "exponential":
            return max(config.final, 1e-3) ** progress
        if config.kind == "noam":
            return math.sqrt(warmup / (step + 1))
        return self.plateau_factor if config.kind == "plateau" else 1.0

    def apply(self, optimizer, step):
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * self.factor(step)


# %% rewritten starts_at_zero
class Schedule:
    def factor(self, step):
        c, rise = self.config, max(self.config.warmup_steps, 1)
        if step < c.warmup_steps:
            return step * (1.0 / rise)
        done = (step - c.warmup_steps) / max(1, self.total_steps - c.warmup_steps)
        done = done if done < 1 else 1.0
        shares = {
            "linear": (1 - done) + c.final * done,
            "cosine": 0.5 * (1 + c.final) + 0.5 * (1 - c.final) * math.cos(math.pi * done),
            "exponential": math.exp(done * math.log(max(c.final, 1e-3))),
            "noam": (rise / (step + 1)) ** 0.5,
            "plateau": self.plateau_factor,
            "constant": 1.0,
        }
        return shares[c.kind]

    def apply(self, optimizer, step):
        share = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak_lr"]


# %% mutant warm_up_counted_twice
# Progress is counted from step 0, not from the end of the warm-up. At the end of the rise the rate falls at once, to where it would
# be if it had fallen all the time.
class Schedule:
    def factor(self, step):
        config = self.config
        warmup = max(config.warmup_steps, 1)
        if step < config.warmup_steps:
            return (step + 1) / warmup
        progress = min(1.0, step / self.total_steps)
        if config.kind == "linear":
            return 1 - (1 - config.final) * progress
        if config.kind == "cosine":
            return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2
        if config.kind == "exponential":
            return max(config.final, 1e-3) ** progress
        if config.kind == "noam":
            return math.sqrt(warmup / (step + 1))
        return self.plateau_factor if config.kind == "plateau" else 1.0

    def apply(self, optimizer, step):
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * self.factor(step)


# %% rewritten warm_up_counted_twice
class Schedule:
    def factor(self, step):
        c, rise = self.config, max(self.config.warmup_steps, 1)
        if step < c.warmup_steps:
            return (1 + step) * (1.0 / rise)
        done = min(step, self.total_steps) / self.total_steps
        shares = {
            "linear": (1 - done) + c.final * done,
            "cosine": 0.5 * (1 + c.final) + 0.5 * (1 - c.final) * math.cos(math.pi * done),
            "exponential": math.exp(done * math.log(max(c.final, 1e-3))),
            "noam": (rise / (step + 1)) ** 0.5,
            "plateau": self.plateau_factor,
            "constant": 1.0,
        }
        return shares[c.kind]

    def apply(self, optimizer, step):
        share = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak_lr"]


# %% mutant goes_on_falling
# Behind the last step the schedule goes on falling: the linear one gives negative rates, which climb the loss. Progress must stop
# at 1.
class Schedule:
    def factor(self, step):
        config = self.config
        warmup = max(config.warmup_steps, 1)
        if step < config.warmup_steps:
            return (step + 1) / warmup
        progress = (step - config.warmup_steps) / max(1, self.total_steps - config.warmup_steps)
        if config.kind == "linear":
            return 1 - (1 - config.final) * progress
        if config.kind == "cosine":
            return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2
        if config.kind == "exponential":
            return max(config.final, 1e-3) ** progress
        if config.kind == "noam":
            return math.sqrt(warmup / (step + 1))
        return self.plateau_factor if config.kind == "plateau" else 1.0

    def apply(self, optimizer, step):
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * self.factor(step)


# %% rewritten goes_on_falling
class Schedule:
    def factor(self, step):
        c, rise = self.config, max(self.config.warmup_steps, 1)
        if step < c.warmup_steps:
            return (1 + step) * (1.0 / rise)
        done = (step - c.warmup_steps) / max(1, self.total_steps - c.warmup_steps)
        shares = {
            "linear": (1 - done) + c.final * done,
            "cosine": 0.5 * (1 + c.final) + 0.5 * (1 - c.final) * math.cos(math.pi * done),
            "exponential": math.exp(done * math.log(max(c.final, 1e-3))),
            "noam": (rise / (step + 1)) ** 0.5,
            "plateau": self.plateau_factor,
            "constant": 1.0,
        }
        return shares[c.kind]

    def apply(self, optimizer, step):
        share = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak_lr"]


# %% mutant compounding
# The rate of the step before is multiplied, not the peak: the shares compound, and after a few steps of warm-up nothing is left of
# the rate.
class Schedule:
    def factor(self, step):
        config = self.config
        warmup = max(config.warmup_steps, 1)
        if step < config.warmup_steps:
            return (step + 1) / warmup
        progress = min(1.0, (step - config.warmup_steps) / max(1, self.total_steps - config.warmup_steps))
        if config.kind == "linear":
            return 1 - (1 - config.final) * progress
        if config.kind == "cosine":
            return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2
        if config.kind == "exponential":
            return max(config.final, 1e-3) ** progress
        if config.kind == "noam":
            return math.sqrt(warmup / (step + 1))
        return self.plateau_factor if config.kind == "plateau" else 1.0

    def apply(self, optimizer, step):
        for group in optimizer.param_groups:
            group["lr"] *= self.factor(step)


# %% rewritten compounding
class Schedule:
    def factor(self, step):
        c, rise = self.config, max(self.config.warmup_steps, 1)
        if step < c.warmup_steps:
            return (1 + step) * (1.0 / rise)
        done = min(1.0, (step - c.warmup_steps) / max(1, self.total_steps - c.warmup_steps))
        shares = {
            "linear": (1 - done) + c.final * done,
            "cosine": 0.5 * (1 + c.final) + 0.5 * (1 - c.final) * math.cos(math.pi * done),
            "exponential": math.exp(done * math.log(max(c.final, 1e-3))),
            "noam": (rise / (step + 1)) ** 0.5,
            "plateau": self.plateau_factor,
            "constant": 1.0,
        }
        return shares[c.kind]

    def apply(self, optimizer, step):
        share = self.factor(step)
        for group in optimizer.param_groups:
            group.update(lr=share * group["lr"])


# %% mutant noam_without_its_peak
# Noam's rate is 1 / sqrt(step + 1), without the root of the warm-up: its peak is not 1 but 1 / sqrt(warmup_steps), so the same `lr`
# means another rate for each warm-up.
class Schedule:
    def factor(self, step):
        config = self.config
        warmup = max(config.warmup_steps, 1)
        if step < config.warmup_steps:
            return (step + 1) / warmup
        progress = min(1.0, (step - config.warmup_steps) / max(1, self.total_steps - config.warmup_steps))
        if config.kind == "linear":
            return 1 - (1 - config.final) * progress
        if config.kind == "cosine":
            return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2
        if config.kind == "exponential":
            return max(config.final, 1e-3) ** progress
        if config.kind == "noam":
            return 1 / math.sqrt(step + 1)
        return self.plateau_factor if config.kind == "plateau" else 1.0

    def apply(self, optimizer, step):
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * self.factor(step)


# %% rewritten noam_without_its_peak
class Schedule:
    def factor(self, step):
        c, rise = self.config, max(self.config.warmup_steps, 1)
        if step < c.warmup_steps:
            return (1 + step) * (1.0 / rise)
        done = min(1.0, (step - c.warmup_steps) / max(1, self.total_steps - c.warmup_steps))
        shares = {
            "linear": (1 - done) + c.final * done,
            "cosine": 0.5 * (1 + c.final) + 0.5 * (1 - c.final) * math.cos(math.pi * done),
            "exponential": math.exp(done * math.log(max(c.final, 1e-3))),
            "noam": (step + 1) ** -0.5,
            "plateau": self.plateau_factor,
            "constant": 1.0,
        }
        return shares[c.kind]

    def apply(self, optimizer, step):
        share = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak_lr"]
