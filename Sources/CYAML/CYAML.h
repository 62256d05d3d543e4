// libyaml (https://pyyaml.org/wiki/LibYAML) as a Swift module. Debian: libyaml-dev, which also has the
// static archive that the static executable needs.
#include <yaml.h>
