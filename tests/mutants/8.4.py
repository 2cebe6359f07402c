# %% mutant always_bf16
# Everything becomes bf16, also where fp32 or fp16 was asked for. A setting that is overruled in silence makes results that nobody can
# explain.
def pick_precision(precision, device):
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and cpu_multiplies_bf16() else "fp32"


class Stepper:
    def autocast(self):
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16 if self.precision == "bf16" else torch.float16)


# %% rewritten always_bf16
def pick_precision(precision, device):
    halves = {"cuda": "fp16", "cpu": "fp32"}
    can = {"cuda": torch.cuda.is_bf16_supported, "cpu": cpu_multiplies_bf16}
    kind = device.type
    return "bf16" if kind in can and can[kind]() else halves.get(kind, "fp32")


class Stepper:
    def autocast(self):
        types = {"bf16": torch.bfloat16, "fp16": torch.float16}
        name = self.precision
        return torch.autocast(self.device.type, types[name]) if name in types else nullcontext()


# %% mutant fp16_on_every_gpu
# auto takes fp16 on every GPU. Where bf16 is there it is the better choice: it has the range of fp32, so nothing overflows and no
# scaling is needed.
def pick_precision(precision, device):
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "fp16"
    return "bf16" if device.type == "cpu" and cpu_multiplies_bf16() else "fp32"


class Stepper:
    def autocast(self):
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16 if self.precision == "bf16" else torch.float16)


# %% rewritten fp16_on_every_gpu
def pick_precision(precision, device):
    quick = {"cuda": lambda: "fp16", "cpu": lambda: ("fp32", "bf16")[cpu_multiplies_bf16()]}
    return quick.get(device.type, lambda: "fp32")() if precision == "auto" else precision


class Stepper:
    def autocast(self):
        types = {"bf16": torch.bfloat16, "fp16": torch.float16}
        name = self.precision
        return torch.autocast(self.device.type, types[name]) if name in types else nullcontext()


# %% mutant bf16_on_every_cpu
# auto takes bf16 on every processor. Where the instructions for it are missing, each product is computed in fp32 and rounded: slower
# than fp32, and less exact.
def pick_precision(precision, device):
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" else "fp32"


class Stepper:
    def autocast(self):
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16 if self.precision == "bf16" else torch.float16)


# %% rewritten bf16_on_every_cpu
def pick_precision(precision, device):
    quick = {"cuda": lambda: ("fp16", "bf16")[torch.cuda.is_bf16_supported()], "cpu": lambda: "bf16"}
    return quick.get(device.type, lambda: "fp32")() if precision == "auto" else precision


class Stepper:
    def autocast(self):
        types = {"bf16": torch.bfloat16, "fp16": torch.float16}
        name = self.precision
        return torch.autocast(self.device.type, types[name]) if name in types else nullcontext()


# %% mutant always_for_cuda
# The context is always one for cuda. On a processor it does nothing: the training runs in fp32 without a word, at half the speed.
def pick_precision(precision, device):
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and cpu_multiplies_bf16() else "fp32"


class Stepper:
    def autocast(self):
        if self.precision == "fp32" or self.device.type != "cuda":
            return nullcontext()
        return torch.autocast("cuda", dtype=torch.bfloat16 if self.precision == "bf16" else torch.float16)


# %% rewritten always_for_cuda
def pick_precision(precision, device):
    quick = {
        "cuda": lambda: ("fp16", "bf16")[torch.cuda.is_bf16_supported()],
        "cpu": lambda: ("fp32", "bf16")[cpu_multiplies_bf16()],
    }
    return quick.get(device.type, lambda: "fp32")() if precision == "auto" else precision


class Stepper:
    def autocast(self):
        types = {"bf16": torch.bfloat16, "fp16": torch.float16}
        if self.precision not in types or not self.device.type.startswith("cuda"):
            return nullcontext()
        return torch.autocast("cuda", types[self.precision])


# %% mutant types_exchanged
# The types are exchanged: bf16 computes in float16 and the other way round. float16 ends at 65504 and has no scaler in a bf16 run: large
# values become infinite.
def pick_precision(precision, device):
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and cpu_multiplies_bf16() else "fp32"


class Stepper:
    def autocast(self):
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.float16 if self.precision == "bf16" else torch.bfloat16)


# %% rewritten types_exchanged
def pick_precision(precision, device):
    quick = {
        "cuda": lambda: ("fp16", "bf16")[torch.cuda.is_bf16_supported()],
        "cpu": lambda: ("fp32", "bf16")[cpu_multiplies_bf16()],
    }
    return quick.get(device.type, lambda: "fp32")() if precision == "auto" else precision


class Stepper:
    def autocast(self):
        types = {"fp16": torch.bfloat16, "bf16": torch.float16}
        name = self.precision
        return torch.autocast(self.device.type, types[name]) if name in types else nullcontext()
