# %% tables
def pick_precision(precision, device):
    def gpu():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"

    def cpu():
        return "bf16" if cpu_multiplies_bf16() else "fp32"

    fastest = {"cuda": gpu, "cpu": cpu}
    if precision == "auto":
        return fastest[device.type]() if device.type in fastest else "fp32"
    return precision


class Stepper:
    def autocast(self):
        types = {"bf16": torch.bfloat16, "fp16": torch.float16}
        if self.precision in types:
            return torch.autocast(device_type=self.device.type, dtype=types[self.precision])
        return nullcontext()


# %% enabled_or_not
def pick_precision(precision, device):
    if precision in ("fp32", "bf16", "fp16"):
        return precision
    kind = device.type
    if kind not in ("cuda", "cpu"):
        return "fp32"
    can = torch.cuda.is_bf16_supported(including_emulation=False) if kind == "cuda" else cpu_multiplies_bf16()
    return "bf16" if can else {"cuda": "fp16", "cpu": "fp32"}[kind]


class Stepper:
    def autocast(self):
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32")
