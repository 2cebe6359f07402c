# %% mutant left_in_evaluation
# The model is put into evaluation mode and left there. From the first validation on it trains without dropout, and learns the training
# set by heart. Note model.training before model.eval(), and go back to it afterwards.
def validate(model, dev, blank):
    model.eval()
    with torch.inference_mode():
        return ctc(model, dev, blank).item()


# %% rewritten left_in_evaluation
def validate(model, dev, blank):
    with torch.no_grad():
        loss = ctc(model.train(False), dev, blank)
    return float(loss)


# %% mutant validates_in_training
# The model is put into training mode before it is validated. It goes on learning as it should, but the dev loss is now measured with
# dropout: too high, and another one each time. Evaluation mode before, the mode that it was in afterwards.
def validate(model, dev, blank):
    model.train()
    with torch.inference_mode():
        return ctc(model, dev, blank).item()


# %% rewritten validates_in_training
def validate(model, dev, blank):
    model.train(True)
    loss = ctc(model, dev, blank).detach()
    return float(loss)


# %% mutant always_training_afterwards
# Afterwards the model is in training mode, whatever it was in before. Within the training that is right; but whoever validates a
# finished model gets it back with dropout, and it recognises worse. Go back to the mode that it was found in.
def validate(model, dev, blank):
    model.eval()
    with torch.inference_mode():
        loss = ctc(model, dev, blank).item()
    model.train()
    return loss


# %% rewritten always_training_afterwards
def validate(model, dev, blank):
    try:
        with torch.no_grad():
            return float(ctc(model.eval(), dev, blank))
    finally:
        model.train(True)
