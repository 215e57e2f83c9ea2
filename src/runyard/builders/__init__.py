"""
From a job's files to an image that its resource can pull.

    context   which Dockerfile, which directory, which packages: read from the fetched files
    dockerfile   Recipe → Dockerfile, pure, the same for all builders
    docker, buildah   build on this host, by the command of that name
    cluster_*   the same as Kubernetes Jobs: their manifests, pure
    diagnosis   what went wrong, in one line, from what a builder said: `causes` that are known

`base` is the interface; `runyard.testing.builder_laws` holds every builder to it.
"""
