"""One adapter per backbone family; `family` in config.yaml names the module. docs/backbones.md says how to add one."""
