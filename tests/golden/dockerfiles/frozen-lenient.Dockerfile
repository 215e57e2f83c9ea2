# Made by runyard for one job; give the job a Dockerfile.runyard to have it your way.
FROM python:3.11-slim
USER 0:0
RUN mkdir -p /home/runyard/.cache \
    && touch /etc/passwd \
    && if [ -n "$(tail -c 1 /etc/passwd)" ]; then echo >> /etc/passwd; fi \
    && echo 'runyard:x:1000:0:runyard:/home/runyard:/bin/sh' >> /etc/passwd \
    && chown -R 1000:0 /home/runyard && chmod -R g=u /home/runyard
WORKDIR /home/runyard
RUN PYTHON=$(command -v python3 || command -v python) \
    || { echo 'runyard: the base image has no Python' >&2; exit 1; }; \
    "$PYTHON" -m venv --system-site-packages /env
COPY runyard/ /opt/runyard/
COPY install/ /home/runyard/
RUN --mount=type=cache,id=t-pip,target=/var/cache/runyard/pip \
    export PIP_CACHE_DIR=/var/cache/runyard/pip; \
    /env/bin/python /opt/runyard/packages.py --lenient --no-deps requirements.frozen.txt
COPY --chown=1000:0 src/ /home/runyard/
ENV PATH=/env/bin:${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin} VIRTUAL_ENV=/env PYTHONUNBUFFERED=1 HOME=/home/runyard
USER 1000:0
CMD []
ENTRYPOINT ["python", "train.py"]
