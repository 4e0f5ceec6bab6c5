# The image of rayjob.yaml: Ray's own image, the project's dependencies in the tested versions, and the project.
# PyTorch's wheels include CUDA; the driver comes from the node.
FROM rayproject/ray:2.60.0-py311-cpu
RUN sudo apt-get update && sudo apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && \
    sudo rm -rf /var/lib/apt/lists/*
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /home/ray/interlcm
COPY --chown=ray constraints.txt .
RUN pip install --no-cache-dir -r constraints.txt
COPY --chown=ray pyproject.toml README.md LICENSE ./
COPY --chown=ray interlcm interlcm
COPY --chown=ray pipeline pipeline
COPY --chown=ray jobs jobs
RUN pip install --no-cache-dir --no-deps .
WORKDIR /home/ray
