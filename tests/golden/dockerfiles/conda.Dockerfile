# Made by runyard for one job; give the job a Dockerfile.runyard to have it your way.
FROM python:3.11-slim
USER 0:0
RUN mkdir -p /home/runyard/.cache \
    && touch /etc/passwd \
    && if [ -n "$(tail -c 1 /etc/passwd)" ]; then echo >> /etc/passwd; fi \
    && echo 'runyard:x:1000:0:runyard:/home/runyard:/bin/sh' >> /etc/passwd \
    && chown -R 1000:0 /home/runyard && chmod -R g=u /home/runyard
WORKDIR /home/runyard
COPY install/ /home/runyard/
RUN export MAMBA_ALWAYS_YES=true CONDA_ALWAYS_YES=true; \
    if command -v micromamba >/dev/null; then micromamba create -p /env -f environment.yaml; \
    elif command -v mamba >/dev/null; then mamba env create -p /env -f environment.yaml; \
    elif command -v conda >/dev/null; then conda env create -p /env -f environment.yaml; \
    else echo 'runyard: environment.yaml needs a base image with micromamba, mamba or conda: set builder.base_image' >&2; exit 1; fi
COPY --chown=1000:0 src/ /home/runyard/
ENV PATH=/env/bin:${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin} VIRTUAL_ENV=/env PYTHONUNBUFFERED=1 HOME=/home/runyard
USER 1000:0
CMD []
ENTRYPOINT ["python", "train.py"]
