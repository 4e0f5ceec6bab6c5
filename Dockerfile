# The images of rayjob.yaml: Ray's own image, the dependencies of the stages in the tested versions, and the project.
#   docker build --target cpu -t registry.example.org/interlcm-cpu:0.1.0 .     fetch, detect, publish: no PyTorch
#   docker build --target gpu -t registry.example.org/interlcm:0.1.0 .         every stage, and the driver
FROM rayproject/ray:2.60.0-py311-cpu AS base
RUN sudo apt-get update && sudo apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && \
    sudo rm -rf /var/lib/apt/lists/*
WORKDIR /home/ray/interlcm
COPY --chown=ray constraints.txt pyproject.toml README.md LICENSE ./
COPY --chown=ray interlcm interlcm
COPY --chown=ray pipeline pipeline
COPY --chown=ray jobs jobs

FROM base AS cpu
RUN pip install --no-cache-dir -c constraints.txt '.[stages,cluster]'
WORKDIR /home/ray

# PyTorch's wheels include CUDA; the driver comes from the node.
FROM base AS gpu
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install --no-cache-dir -c constraints.txt '.[restore,cluster]'
WORKDIR /home/ray
