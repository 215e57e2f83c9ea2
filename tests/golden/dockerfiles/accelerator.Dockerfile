# Made by runyard for one job; give the job a Dockerfile.runyard to have it your way.
FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04
USER 0:0
RUN if ! python3 -c 'import ensurepip' 2>/dev/null; then \
    command -v apt-get >/dev/null || { echo 'runyard: the accelerator base image has neither this Python nor apt-get: choose a Debian or Ubuntu image' >&2; exit 1; }; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update && apt-get install -y --no-install-recommends python3 python3-venv python3-pip \
    && rm -rf /var/lib/apt/lists/*; fi
RUN mkdir -p /home/runyard/.cache \
    && touch /etc/passwd \
    && if [ -n "$(tail -c 1 /etc/passwd)" ]; then echo >> /etc/passwd; fi \
    && echo 'runyard:x:1000:0:runyard:/home/runyard:/bin/sh' >> /etc/passwd \
    && chown -R 1000:0 /home/runyard && chmod -R g=u /home/runyard
WORKDIR /home/runyard
RUN python3 -m venv --system-site-packages /env
COPY install/ /home/runyard/
RUN /env/bin/python -m pip install --disable-pip-version-check --no-input --no-cache-dir -r requirements.txt
COPY --chown=1000:0 src/ /home/runyard/
ENV PATH=/env/bin:${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin} VIRTUAL_ENV=/env PYTHONUNBUFFERED=1 HOME=/home/runyard
USER 1000:0
CMD []
ENTRYPOINT ["python", "train.py"]
