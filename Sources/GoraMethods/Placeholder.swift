import GoraCore
