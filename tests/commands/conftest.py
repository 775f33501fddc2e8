from slurm_executor import untaught as untaught
