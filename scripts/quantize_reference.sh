#!/bin/sh
# quantize_reference.sh RUN MODEL.gguf ... - run quantize against llama-quantize, which is built from the sources that the
# Python package llama-cpp-python has in it (about ten minutes). By hand: it needs a network, cmake, a C++ compiler and
# pip install gguf numpy. WORK=DIR keeps what was built.
set -e
here=$(cd "$(dirname "$0")" && pwd)
work=${WORK:-$(mktemp -d)}
run=$1
shift
if [ ! -x "$work/build/bin/llama-quantize" ]; then
    mkdir -p "$work"
    pip download -q --no-deps --no-binary :all: --no-build-isolation -d "$work" llama-cpp-python==0.3.36
    tar xzf "$work"/llama_cpp_python-*.tar.gz -C "$work"
    cmake -S "$work"/llama_cpp_python-*/vendor/llama.cpp -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF \
        -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DBUILD_SHARED_LIBS=OFF > /dev/null
    cmake --build "$work/build" -j "$(nproc)" --target llama-quantize > /dev/null
fi
python3 "$here/quantize_reference.py" "$work/build/bin/llama-quantize" compare "$run" "$@"
