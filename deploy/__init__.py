"""How perwatt reaches a machine: the `perwatt` command, images, jobs, and what CI and rented machines run.

Each line imports only what stands below it:

    command.py     `perwatt`, with a subcommand for each step of the data path
    info.py        `perwatt info`
    tune.py        `perwatt tune`
    tune_picture.py  what it found, drawn
    tune_energy.py   and what a second of processor time takes
    proof/         what is deployed, deployed on one machine: `make test-deploy`
    figures/       the published figures, drawn and written into the README
    judges/        other people's benchmarks, run beside another engine each
    reproduce/     what others published, held against this machine
    instructions/  how many instructions a query takes on each unit, of arm64 in emulation
    cloud/         measuring on rented machines
    images/        what is made and tried while an image is built
    client/        the client as a distribution of its own
    jobs/          an index in shards by many workers; what runs beside the service in a cluster
    ending.py      how a command ends
    errors.py      what can go wrong on the way

Not a library: nothing imports this package. The steps themselves live in `embed`, `index`, `service` and `loadtest`.
"""
