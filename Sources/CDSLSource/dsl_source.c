/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source of the module Netforge, every file of it: a test holds this list to the folder. */
#include "nf_dsl_source.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char file_bridge[] = {
#embed "../Netforge/Body/Bridge.swift"
};
static const unsigned char file_devices[] = {
#embed "../Netforge/Body/Devices.swift"
};
static const unsigned char file_firewall[] = {
#embed "../Netforge/Body/Firewall.swift"
};
static const unsigned char file_interface[] = {
#embed "../Netforge/Body/Interface.swift"
};
static const unsigned char file_listbuilder[] = {
#embed "../Netforge/Body/ListBuilder.swift"
};
static const unsigned char file_nodebody[] = {
#embed "../Netforge/Body/NodeBody.swift"
};
static const unsigned char file_programs[] = {
#embed "../Netforge/Body/Programs.swift"
};
static const unsigned char file_routing[] = {
#embed "../Netforge/Body/Routing.swift"
};
static const unsigned char file_ruleset[] = {
#embed "../Netforge/Body/Ruleset.swift"
};
static const unsigned char file_translation[] = {
#embed "../Netforge/Body/Translation.swift"
};
static const unsigned char file_expectation[] = {
#embed "../Netforge/Expectation.swift"
};
static const unsigned char file_expecting[] = {
#embed "../Netforge/Expecting.swift"
};
static const unsigned char file_filerequest[] = {
#embed "../Netforge/FileRequest.swift"
};
static const unsigned char file_handles[] = {
#embed "../Netforge/Handles.swift"
};
static const unsigned char file_output[] = {
#embed "../Netforge/Output.swift"
};
static const unsigned char file_record[] = {
#embed "../Netforge/Record.swift"
};
static const unsigned char file_scenario[] = {
#embed "../Netforge/Scenario.swift"
};
static const unsigned char file_chain[] = {
#embed "../Netforge/Table/Chain.swift"
};
static const unsigned char file_objectmaps[] = {
#embed "../Netforge/Table/ObjectMaps.swift"
};
static const unsigned char file_objects[] = {
#embed "../Netforge/Table/Objects.swift"
};
static const unsigned char file_rule[] = {
#embed "../Netforge/Table/Rule.swift"
};
static const unsigned char file_kernel_selectors[] = {
#embed "../Netforge/Table/KernelSelectors.swift"
};
static const unsigned char file_selectors[] = {
#embed "../Netforge/Table/Selectors.swift"
};
static const unsigned char file_setupdates[] = {
#embed "../Netforge/Table/SetUpdates.swift"
};
static const unsigned char file_sets[] = {
#embed "../Netforge/Table/Sets.swift"
};
static const unsigned char file_spread[] = {
#embed "../Netforge/Table/Spread.swift"
};
static const unsigned char file_statements[] = {
#embed "../Netforge/Table/Statements.swift"
};
static const unsigned char file_table[] = {
#embed "../Netforge/Table/Table.swift"
};
static const unsigned char file_values[] = {
#embed "../Netforge/Table/Values.swift"
};
static const unsigned char file_topology[] = {
#embed "../Netforge/Topology.swift"
};
static const unsigned char file_units[] = {
#embed "../Netforge/Units.swift"
};

#define NF_FILE(name, bytes) {name, bytes, sizeof bytes}

const struct nf_dsl_file nf_dsl_files[] = {
  NF_FILE("Bridge.swift", file_bridge),
  NF_FILE("Devices.swift", file_devices),
  NF_FILE("Firewall.swift", file_firewall),
  NF_FILE("Interface.swift", file_interface),
  NF_FILE("ListBuilder.swift", file_listbuilder),
  NF_FILE("NodeBody.swift", file_nodebody),
  NF_FILE("Programs.swift", file_programs),
  NF_FILE("Routing.swift", file_routing),
  NF_FILE("Ruleset.swift", file_ruleset),
  NF_FILE("Translation.swift", file_translation),
  NF_FILE("Expectation.swift", file_expectation),
  NF_FILE("Expecting.swift", file_expecting),
  NF_FILE("FileRequest.swift", file_filerequest),
  NF_FILE("Handles.swift", file_handles),
  NF_FILE("Output.swift", file_output),
  NF_FILE("Record.swift", file_record),
  NF_FILE("Scenario.swift", file_scenario),
  NF_FILE("Chain.swift", file_chain),
  NF_FILE("ObjectMaps.swift", file_objectmaps),
  NF_FILE("Objects.swift", file_objects),
  NF_FILE("Rule.swift", file_rule),
  NF_FILE("KernelSelectors.swift", file_kernel_selectors),
  NF_FILE("Selectors.swift", file_selectors),
  NF_FILE("SetUpdates.swift", file_setupdates),
  NF_FILE("Sets.swift", file_sets),
  NF_FILE("Spread.swift", file_spread),
  NF_FILE("Statements.swift", file_statements),
  NF_FILE("Table.swift", file_table),
  NF_FILE("Values.swift", file_values),
  NF_FILE("Topology.swift", file_topology),
  NF_FILE("Units.swift", file_units),
};
const size_t nf_dsl_file_count = sizeof nf_dsl_files / sizeof nf_dsl_files[0];
