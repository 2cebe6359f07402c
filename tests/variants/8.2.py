# %% table
class Schedule:
    def factor(self, step):
        settings, rise = self.config, max(self.config.warmup_steps, 1)
        if step < settings.warmup_steps:
            return (1 + step) / rise
        left = max(1, self.total_steps - settings.warmup_steps)
        done = min(step - settings.warmup_steps, left) / left
        low = settings.final
        shares = {
            "linear": lambda: (1 - done) + low * done,
            "cosine": lambda: low + (1 - low) * math.cos(math.pi * done / 2) ** 2,
            "exponential": lambda: math.exp(done * math.log(max(low, 1e-3))),
            "noam": lambda: (rise / (step + 1)) ** 0.5,
            "plateau": lambda: self.plateau_factor,
        }
        return shares.get(settings.kind, lambda: 1.0)()

    def apply(self, optimizer, step):
        share = self.factor(step)
        for group in optimizer.param_groups:
            group.update(lr=share * group["peak_lr"])
