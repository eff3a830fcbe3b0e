"""Table 1's other systems, and backbones read out without training: encoders, and the job that measures one."""
