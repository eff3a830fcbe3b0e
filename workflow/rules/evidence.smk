# Everything of a preset with at least three seeds and every control: `snakemake --cores all evidence`.


rule evidence:
    input:
        controls=control_files,
        everything=rules.all.input,
    localrule: True
