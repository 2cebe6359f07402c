# %% os_functions
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
        if other.exists():
            other.unlink()
        no_room = isinstance(problem, RuntimeError) or problem.errno in {errno.ENOSPC, errno.EDQUOT}
        raise CheckpointError(f"{path}: {'the disk is full' if no_room else 'not written'} ({problem})") from problem
