# %% by_name
class Stepper:
    def state_dict(self):
        state = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule", "scaler")}
        state["precision"] = self.precision
        state["ema"] = None if self.ema is None else dict(self.ema.average)
        return state

    def load_state_dict(self, state):
        self.precision = state["precision"]
        if self.precision == "fp16":
            self.scaler = torch.amp.GradScaler(self.device.type)
            self.scaler.load_state_dict(state["scaler"])
        else:
            self.scaler = torch.amp.GradScaler(self.device.type, enabled=False)
        for name in (
            "model",
            "optimizer",
            "schedule",
        ):
            getattr(self, name).load_state_dict(state[name])
        if self.ema is not None:
            self.ema.average = {name: value.to(self.device) for name, value in state["ema"].items()}
