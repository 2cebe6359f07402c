# %% mutant written_in_place
# The state is written over the former one. A full disk, or a kill in the middle, leaves half a file and no state at all.
def save_state(path, state):
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        full = isinstance(error, RuntimeError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else "it failed"
        raise CheckpointError(f"cannot write training state {path}: {reason} ({error})") from error


# %% rewritten written_in_place
def save_state(path, state):
    other = path
    os.makedirs(path.parent, exist_ok=True)
    try:
        file = open(other, "wb")
        try:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        finally:
            file.close()
    except (OSError, RuntimeError) as problem:
        no_room = isinstance(problem, RuntimeError) or problem.errno in {errno.ENOSPC, errno.EDQUOT}
        raise CheckpointError(f"{path}: {'the disk is full' if no_room else 'not written'} ({problem})") from problem


# %% mutant not_flushed
# The content is not forced to the disk before it gets its name. After a power cut the name may be there and the content not: an empty
# state.
def save_state(path, state):
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        full = isinstance(error, RuntimeError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else "it failed"
        raise CheckpointError(f"cannot write training state {path}: {reason} ({error})") from error


# %% rewritten not_flushed
def save_state(path, state):
    other = path.parent / (path.name + ".part")
    os.makedirs(path.parent, exist_ok=True)
    try:
        file = open(other, "wb")
        try:
            torch.save(state, file)
        finally:
            file.close()
        os.replace(other, path)
    except (OSError, RuntimeError) as problem:
        if other.exists():
            other.unlink()
        no_room = isinstance(problem, RuntimeError) or problem.errno in {errno.ENOSPC, errno.EDQUOT}
        raise CheckpointError(f"{path}: {'the disk is full' if no_room else 'not written'} ({problem})") from problem


# %% mutant litter
# After a failure the temporary file is left behind, and takes the room that the next state would need.
def save_state(path, state):
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        full = isinstance(error, RuntimeError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else "it failed"
        raise CheckpointError(f"cannot write training state {path}: {reason} ({error})") from error


# %% rewritten litter
def save_state(path, state):
    other = path.parent / (path.name + ".part")
    os.makedirs(path.parent, exist_ok=True)
    try:
        file = open(other, "wb")
        try:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        finally:
            file.close()
        os.replace(other, path)
    except (OSError, RuntimeError) as problem:
        no_room = isinstance(problem, RuntimeError) or problem.errno in {errno.ENOSPC, errno.EDQUOT}
        raise CheckpointError(f"{path}: {'the disk is full' if no_room else 'not written'} ({problem})") from problem


# %% mutant bare_error
# Errors are passed on as they come: the user gets a traceback of the operating system in the place of a sentence that says what to do.
def save_state(path, state):
    temporary = path.with_name(f".{path.name}.writing")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# %% rewritten bare_error
def save_state(path, state):
    other = path.parent / (path.name + ".part")
    os.makedirs(path.parent, exist_ok=True)
    try:
        with open(other, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.remove(other)
        raise
    os.replace(other, path)


# %% mutant no_folder
# The folder is expected to be there. The first state of a run finds none.
def save_state(path, state):
    temporary = path.with_name(f".{path.name}.writing")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        full = isinstance(error, RuntimeError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else "it failed"
        raise CheckpointError(f"cannot write training state {path}: {reason} ({error})") from error


# %% rewritten no_folder
def save_state(path, state):
    other = path.parent / (path.name + ".part")
    try:
        file = open(other, "wb")
        try:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        finally:
            file.close()
        os.replace(other, path)
    except (OSError, RuntimeError) as problem:
        if other.exists():
            other.unlink()
        no_room = isinstance(problem, RuntimeError) or problem.errno in {errno.ENOSPC, errno.EDQUOT}
        raise CheckpointError(f"{path}: {'the disk is full' if no_room else 'not written'} ({problem})") from problem
